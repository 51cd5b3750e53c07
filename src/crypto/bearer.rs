//! A service of a cloud: it takes tokens that somebody else gives, for an hour or so.

use std::{
    fmt,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    rest::{Answer, Ask, Refusal, Rest, Sending, To, request as sending},
    service::{Fault, ServiceError, plain},
};
use crate::model::{Access, AccessKind, Connection, Peer, Timestamp};

/// A token, and for how long.
pub(super) struct Granted {
    /// The token.
    pub(super) token: SecretString,
    /// For how long it is good.
    pub(super) lasts: Duration,
}

/// Where tokens come from.
#[async_trait]
pub(super) trait Grants: Send + Sync + fmt::Debug {
    /// A token. `key` is the key that it is wanted for, for errors.
    async fn grant(&self, rest: &Rest, key: &str) -> Result<Granted, Refusal>;

    /// As whom the cloud knows us by it.
    async fn principal(&self, rest: &Rest, key: &str) -> Result<Option<String>, Refusal>;

    /// What kind of credentials they are.
    fn kind(&self) -> AccessKind;
}

#[derive(Debug)]
struct Lease {
    token: SecretString,
    due: Instant,
    end: Instant,
    ends_at: Option<Timestamp>,
}

/// No token is kept for longer, whatever is said of it.
const LONGEST: Duration = Duration::from_hours(24);

impl Lease {
    fn of(Granted { token, lasts }: Granted) -> Self {
        let (now, lasts) = (Instant::now(), lasts.min(LONGEST));
        let micros = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
        let ends_at = Timestamp::now().as_microseconds().checked_add(micros);
        // Two thirds in is early enough to try more than once; a request takes a moment, too.
        let moment = Duration::from_secs(1).min(lasts / 10);
        Self {
            token,
            due: now + lasts * 2 / 3,
            end: now + lasts.saturating_sub(moment),
            ends_at: ends_at.and_then(Timestamp::from_microseconds),
        }
    }
}

/// What a refusal of the service means.
type Reading = fn(&Ask<'_>, &Answer) -> Refusal;

/// A service that can be asked.
#[derive(Debug)]
pub(super) struct Bearer {
    rest: Rest,
    base: Url,
    query: Option<&'static str>,
    grants: Box<dyn Grants>,
    lease: Mutex<Option<Lease>>,
    reading: Reading,
}

impl Bearer {
    /// The service at this address, which wants `query` behind each path.
    pub(super) fn new(
        rest: Rest,
        (base, query): (Url, Option<&'static str>),
        grants: Box<dyn Grants>,
        reading: Reading,
    ) -> Self {
        Self { rest, base, query, grants, lease: Mutex::new(None), reading }
    }

    /// Asks, again and again while that may help.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, Refusal> {
        self.ask_and(ask, |answer| ask.read(answer)).await
    }

    /// Asks, and again, too, when what came is not taken and that may pass.
    pub(super) async fn ask_and<T>(
        &self,
        ask: &Ask<'_>,
        take: impl Fn(&Answer) -> Result<T, Refusal> + Send + Sync,
    ) -> Result<T, Refusal> {
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let answered = self.once(ask, &mut renewed).await;
            let refusal = match answered.and_then(|answer| take(&answer)) {
                Ok(taken) => return Ok(taken),
                Err(refusal) => refusal,
            };
            let pause = refusal.retry_after;
            if !self.rest.patience.again(&mut attempt, &refusal.error, pause).await {
                return Err(refusal);
            }
        }
    }

    /// Asks with a token; once more with a new one when the one at hand is not taken any more.
    async fn once(&self, ask: &Ask<'_>, renewed: &mut bool) -> Result<Answer, Refusal> {
        let token = self.token(ask.key, None).await?;
        let first = self.exchange(ask, &token).await;
        let unknown = first.as_ref().is_err_and(|r| r.status == Some(StatusCode::UNAUTHORIZED));
        if !unknown || std::mem::replace(renewed, true) {
            return first;
        }
        let other = self.token(ask.key, Some(&token)).await?;
        self.exchange(ask, &other).await
    }

    /// A token that should be good, and is not the one that was refused.
    async fn token(
        &self,
        key: &str,
        refused: Option<&SecretString>,
    ) -> Result<SecretString, Refusal> {
        let mut held = self.lease.lock().await;
        let is_other = |token: &SecretString| {
            refused.is_none_or(|refused| refused.expose_secret() != token.expose_secret())
        };
        let kept = held.as_ref().filter(|lease| is_other(&lease.token));
        if let Some(lease) = kept.filter(|lease| Instant::now() < lease.due) {
            return Ok(lease.token.clone());
        }
        match self.grants.grant(&self.rest, key).await {
            Ok(granted) => {
                tracing::debug!(seconds = granted.lasts.as_secs(), "a token was granted");
                Ok(held.insert(Lease::of(granted)).token.clone())
            }
            Err(refusal) => match kept.filter(|lease| Instant::now() < lease.end) {
                // What cannot be had now may be had the next time: the one at hand is still good.
                Some(lease) if refusal.error.fault.is_passing() => {
                    tracing::warn!(error = %refusal.error, "the token was not renewed");
                    Ok(lease.token.clone())
                }
                _ => Err(refusal),
            },
        }
    }

    async fn exchange(&self, ask: &Ask<'_>, token: &SecretString) -> Result<Answer, Refusal> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), ask.path));
        url.set_query(self.query);
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let mut request = sending(To::Service, method, url).bearer(token.expose_secret());
        if let Some(body) = &ask.body {
            request = request.json(body.clone());
        }
        let answer = self.rest.send(ask, request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err((self.reading)(ask, &answer)) }
    }

    /// As whom the cloud knows us.
    pub(super) async fn access(&self, key: &str) -> Result<Access, ServiceError> {
        self.token(key, None).await.map_err(|r| r.error)?;
        let mut access = Access::of(self.grants.kind());
        access.principal = self.grants.principal(&self.rest, key).await.map_err(|r| r.error)?;
        access.expires_at = self.lease.lock().await.as_ref().and_then(|lease| lease.ends_at);
        Ok(access)
    }

    /// How the last connection to the service was protected.
    pub(super) fn connection(&self, to: Peer) -> Connection {
        self.rest.connection(&self.base, to)
    }
}

/// A request for a token, and its answer: refused ones say in their own ways that we are not who
/// we say.
pub(super) async fn request(
    rest: &Rest,
    ask: &Ask<'_>,
    request: Sending,
    denied: &str,
) -> Result<Answer, Refusal> {
    let answer = rest.send(ask, request).await?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let (fault, hint) = match answer.status.as_u16() {
        // The metadata service of Azure is away for a minute when it is updated.
        410 | 500..=599 => (Fault::Broken, "try again later"),
        429 => (Fault::Throttled, "try again later"),
        300..=399 => (Fault::Settings, "it points elsewhere, and tokens do not follow"),
        _ => (Fault::Denied, denied),
    };
    let why = format!("{}: {}", answer.status.as_u16(), said(&answer.body));
    Err(Refusal::of(&answer, ask.fault(fault, why, hint)))
}

/// What a refusal says, of all the fields that may say it.
fn said(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let error = &json["error"];
    let mut text = [&json["error_description"], &error["message"], error].into_iter();
    match text.find_map(serde_json::Value::as_str) {
        Some(text) => plain(text),
        None => plain(&String::from_utf8_lossy(body)),
    }
}

/// The body of a form, which is wiped when it has been sent.
pub(super) fn form(fields: &[(&str, &str)]) -> (HeaderValue, Bytes) {
    let room = fields.iter().map(|(name, value)| (name.len() + value.len()) * 3 + 2).sum();
    // Room for all of it, so that nothing is left behind where it has grown.
    let text = Zeroizing::new(
        form_urlencoded::Serializer::new(String::with_capacity(room)).extend_pairs(fields).finish(),
    );
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    (kind, Bytes::from_owner(Zeroizing::new(text.as_bytes().to_vec())))
}
