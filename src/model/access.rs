//! With what right a service is used.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessKind {
    /// None are needed: a local folder, a local key.
    Local,
    /// Long-lived keys, from a file or the environment.
    Static,
    /// A token that the platform renews in a file, exchanged for short-lived credentials: EKS IRSA,
    /// Azure workload identity, GCP workload identity federation, Vault's Kubernetes login.
    WebIdentity,
    /// An agent beside the pod: EKS Pod Identity, an ECS task role, GKE's metadata server.
    PodIdentity,
    /// The machine's own identity.
    Instance,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Static => "static",
            Self::WebIdentity => "web-identity",
            Self::PodIdentity => "pod-identity",
            Self::Instance => "instance",
            Self::Unknown => "unknown",
        })
    }
}

/// As whom a service knows us, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Where the credentials come from.
    pub kind: AccessKind,
    /// As whom the cloud knows us, such as `arn:aws:sts::…:assumed-role/backup/pod`; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// When the present credentials end, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether new ones can be had when they do.
    pub renewable: bool,
}

impl Access {
    /// One of which nothing more is known.
    #[must_use]
    pub fn of(kind: AccessKind) -> Self {
        let renewable = !matches!(kind, AccessKind::Static | AccessKind::Unknown);
        Self { kind, principal: None, expires_at: None, renewable }
    }
}
