//! The events of a server's event scheduler.

use super::{
    MysqlError,
    connect::{STATEMENT, Server, text_at},
};

/// An event of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// Its schema and name.
    pub event: (String, String),
    /// `user@host`.
    pub definer: String,
    /// Whether it is enabled; nothing when it was disabled because a replica received it.
    pub enabled: Option<bool>,
}

/// A name inside back ticks.
pub(super) fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Server {
    /// All events.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn scheduled_events(&mut self) -> Result<Vec<ScheduledEvent>, MysqlError> {
        let sql = "SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, STATUS FROM information_schema.EVENTS";
        let rows = self.rows("listing events", sql).await?;
        let events = rows.iter().map(|row| ScheduledEvent {
            event: (text_at(row, 0), text_at(row, 1)),
            definer: text_at(row, 2),
            enabled: match text_at(row, 3).as_str() {
                "ENABLED" => Some(true),
                "DISABLED" => Some(false),
                _ => None,
            },
        });
        Ok(events.collect())
    }

    /// Enables or disables an event, and leaves its definer.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn set_event(
        &mut self,
        event: &ScheduledEvent,
        enabled: bool,
    ) -> Result<(), MysqlError> {
        let (user, host) = event.definer.rsplit_once('@').unwrap_or((&event.definer, "%"));
        let (schema, name) = &event.event;
        let sql = format!(
            "ALTER DEFINER = {}@{} EVENT {}.{} {}",
            ticked(user),
            ticked(host),
            ticked(schema),
            ticked(name),
            if enabled { "ENABLE" } else { "DISABLE" }
        );
        self.execute("putting an event's status back", &sql, STATEMENT).await
    }
}
