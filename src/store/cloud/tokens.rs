//! As whom a cloud's store knows us, whoever keeps the credentials.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;

use super::super::{
    StoreErrorKind,
    backend::Fault,
    identity::{Carried, Fetch, Renewing},
};
use crate::model::{Access, AccessKind, Timestamp};

/// What a store needs to know of the credentials that it uses.
#[async_trait]
pub(super) trait Identity: Send + Sync {
    /// What they are, fetched anew where they come from somewhere.
    async fn access(&self) -> Result<Access, Fault>;

    /// Makes sure that there are good ones, and says which.
    async fn ready(&self) -> Result<u64, Fault>;

    /// The store takes them.
    fn accepted(&self);

    /// The store does not. Whether the same request may do better now.
    async fn refused(&self, generation: u64) -> bool;
}

/// Credentials that the library keeps, and what can be told of them.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) access: Access,
}

impl Known {
    pub(super) fn of(access: Access) -> Self {
        Self { access }
    }

    /// A secret from a file or a variable; tokens are perhaps made with it, again and again.
    pub(super) fn fixed(principal: Option<String>, renewable: bool) -> Self {
        Self { access: Access { principal, renewable, ..Access::of(AccessKind::Static) } }
    }
}

#[async_trait]
impl Identity for Known {
    async fn access(&self) -> Result<Access, Fault> {
        match self.access.expires_at.filter(|end| *end <= Timestamp::now()) {
            Some(end) => Err(Fault::new(
                StoreErrorKind::Expired,
                format!("the store's credentials have ended at {end}"),
            )
            .hint("give new ones; better, an identity that the platform renews")),
            None => Ok(self.access.clone()),
        }
    }

    async fn ready(&self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn accepted(&self) {}

    async fn refused(&self, _: u64) -> bool {
        false
    }
}

/// Tokens that we fetch, for the library.
#[derive(Debug)]
pub(super) struct Tokens<F: Fetch>(pub(super) Renewing<F>);

#[async_trait]
impl<F: Fetch> Identity for Tokens<F> {
    async fn access(&self) -> Result<Access, Fault> {
        self.0.access().await
    }

    async fn ready(&self) -> Result<u64, Fault> {
        self.0.ready().await
    }

    fn accepted(&self) {
        self.0.accepted();
    }

    async fn refused(&self, generation: u64) -> bool {
        self.0.refused(generation).await
    }
}

#[async_trait]
impl<C, F> CredentialProvider for Tokens<F>
where
    C: std::fmt::Debug + Send + Sync,
    F: Fetch<Credential = Arc<C>> + std::fmt::Debug,
{
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        self.0.current().await.map_err(|fault| object_store::Error::Generic {
            store: "credentials",
            source: Box::new(Carried(fault)),
        })
    }
}
