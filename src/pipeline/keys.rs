//! The DEK of a backup: which record to believe, and what must come out of it.

use futures::TryStreamExt;

use super::{Finding, Found, PipelineError, Repository};
use crate::{
    crypto::{
        Dek,
        kms::{KeyContext, Kms, KmsError},
    },
    format::{KeyRecord, Role, layout},
    model::DekId,
};

/// What the DEK of a run is for, in the KMS context.
#[must_use]
pub fn purpose(role: Role) -> &'static str {
    match role {
        Role::Backup => "backup",
        Role::Archive => "archive",
    }
}

impl Repository {
    /// The DEK of a run, unwrapped by this KEK.
    ///
    /// # Errors
    /// When no believed record has a wrap that this KEK opens, or what comes out is another key.
    pub async fn dek(&self, dek: DekId, kms: &dyn Kms) -> Result<Dek, PipelineError> {
        let folder = layout::key_folder(self.cluster(), dek);
        let listed: Vec<_> = self.store().list(&folder, None).try_collect().await?;
        // An intruder who may write could add junk as the newest generation: the newest that is
        // believed counts, and what is not is told.
        let mut refused = None;
        let mut believed = None;
        for object in listed.iter().rev().map(|info| info.key.to_string()) {
            match self.generation(dek, &object).await {
                Ok((record, role)) => {
                    believed = Some((object, record, role));
                    break;
                }
                Err(error @ PipelineError::Integrity { .. }) => {
                    tracing::warn!(%error, "a key record is not believed; an older one is tried");
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some((object, record, role)) = believed else {
            return Err(refused
                .unwrap_or_else(|| PipelineError::integrity(folder, "the DEK has no key record")));
        };
        let context = KeyContext { cluster: record.cluster_uuid, dek, purpose: purpose(role) };
        let Some(wrapped) = record.wraps.iter().find(|wrap| kms.made(wrap)) else {
            let found =
                record.wraps.iter().map(|wrap| wrap.kek.as_str()).collect::<Vec<_>>().join(", ");
            return Err(KmsError::OtherKek { kek: kms.name().to_owned(), found }.into());
        };
        let key = kms.unwrap(&context, wrapped).await?;
        if key.commitment(dek.as_bytes()) != record.commitment.0 {
            return Err(PipelineError::integrity(
                object,
                "the KEK gave another key than the one committed to",
            ));
        }
        Ok(key)
    }

    /// What is wrong with the records of a DEK: a restore takes the newest that it believes, and
    /// somebody should know of the others.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_findings(&self, dek: DekId) -> Result<Vec<Finding>, PipelineError> {
        let folder = layout::key_folder(self.cluster(), dek);
        let listed: Vec<_> = self.store().list(&folder, None).try_collect().await?;
        let mut findings = Vec::new();
        for object in listed.iter().map(|info| info.key.to_string()) {
            match self.generation(dek, &object).await {
                Ok(_) => {}
                Err(PipelineError::Integrity { object, why }) => {
                    findings.push(Finding { object, chunk: None, why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(findings)
    }

    /// One generation of a DEK's record, believed, and the role of the DEK's own run.
    async fn generation(
        &self,
        dek: DekId,
        object: &str,
    ) -> Result<(KeyRecord, Role), PipelineError> {
        let found = self.record_of_cluster::<KeyRecord>(object.to_owned()).await?;
        let Some(Found { record, .. }) = found else {
            return Err(PipelineError::integrity(object, "it is missing"));
        };
        if record.dek_id != dek || layout::key(self.cluster(), dek, record.generation) != object {
            let why = "it is the record of another DEK or generation";
            return Err(PipelineError::integrity(object, why));
        }
        let role = self.check_origin(&record, object).await?;
        Ok((record, role))
    }

    /// A DEK is the one that its own run committed to in generation 1. Without this any other
    /// run could add a generation with a key of its choice, and volumes to go with it.
    async fn check_origin(&self, newest: &KeyRecord, object: &str) -> Result<Role, PipelineError> {
        let name = layout::key(self.cluster(), newest.dek_id, 1);
        let first = if newest.generation == 1 {
            newest.clone()
        } else {
            let found = self.record_of_cluster::<KeyRecord>(name.clone()).await?;
            found.ok_or_else(|| PipelineError::integrity(&name, "it is missing"))?.record
        };
        let run = self.run(first.run_id).await?;
        if run.dek_id != newest.dek_id || (first.dek_id, first.generation) != (newest.dek_id, 1) {
            return Err(PipelineError::integrity(name, "it was not written by the DEK's own run"));
        }
        if first.commitment != newest.commitment {
            return Err(PipelineError::integrity(
                object,
                "it commits to another key than generation 1",
            ));
        }
        Ok(run.role)
    }
}
