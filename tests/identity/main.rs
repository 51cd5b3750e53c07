//! Workload identity: the program gets its credentials as it would in EKS, GKE and AKS, from services
//! that refuse what the real ones refuse, and they end while it works.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/azurite.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod azurite;
#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod minio;
#[path = "../support/oidc.rs"]
mod oidc;
#[path = "../contract/script.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod script;
#[path = "../support/synthetic.rs"]
mod synthetic;
#[path = "../support/tools.rs"]
mod tools;

mod aks;
mod eks;
mod fixed;
mod gate;
mod gke;
mod pods;
mod renewals;
mod stage;
