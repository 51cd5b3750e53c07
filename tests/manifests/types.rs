//! Every object read by Kubernetes' own types, which know each field and its type.

use k8s_openapi::{
    api::{apps, batch, core, networking},
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::{Value, json};

use crate::{FOLDERS, Fallible, charted, kustomized};

/// Whether all that is in `given` is in `kept`, too; what is empty may be missing.
fn lost(given: &Value, kept: &Value, at: &str, missing: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (name, value) in given {
                let kept = kept.get(name).unwrap_or(&Value::Null);
                lost(value, kept, &format!("{at}.{name}"), missing);
            }
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            for (n, (given, kept)) in given.iter().zip(kept).enumerate() {
                lost(given, kept, &format!("{at}[{n}]"), missing);
            }
        }
        (Value::Array(given), Value::Null) if given.is_empty() => {}
        (Value::Object(given), Value::Null) if given.is_empty() => {}
        _ if given == kept => {}
        _ => missing.push(at.to_owned()),
    }
}

/// What Kubernetes' own types do not know of an object, or read as something else.
fn unknown(object: &Value) -> Fallible<Vec<String>> {
    fn read<T: DeserializeOwned + Serialize>(object: &Value) -> Fallible<Value> {
        Ok(serde_json::to_value(serde_json::from_value::<T>(object.clone())?)?)
    }
    let kind = object["kind"].as_str().unwrap_or_default();
    let kept = match kind {
        "ConfigMap" => read::<core::v1::ConfigMap>(object),
        "CronJob" => read::<batch::v1::CronJob>(object),
        "Deployment" => read::<apps::v1::Deployment>(object),
        "Job" => read::<batch::v1::Job>(object),
        "NetworkPolicy" => read::<networking::v1::NetworkPolicy>(object),
        "Pod" => read::<core::v1::Pod>(object),
        "Service" => read::<core::v1::Service>(object),
        "ServiceAccount" => read::<core::v1::ServiceAccount>(object),
        "StatefulSet" => read::<apps::v1::StatefulSet>(object),
        _ => return Err(format!("an object of kind {kind:?}").into()),
    }?;
    let mut missing = Vec::new();
    lost(object, &kept, kind, &mut missing);
    Ok(missing)
}

#[test]
fn every_object_is_what_the_types_of_kubernetes_say() -> Fallible<()> {
    let mut objects = Vec::new();
    for folder in FOLDERS {
        objects.extend(kustomized(folder)?);
    }
    for values in ["jobs.yaml", "clusters.yaml", "identities.yaml", "key-services.yaml"] {
        objects.extend(charted(values)?);
    }
    // The Prometheus operator's are not Kubernetes' own.
    objects.retain(|object| {
        !object.is_null() && object["apiVersion"] != json!("monitoring.coreos.com/v1")
    });
    assert!(objects.len() > 100, "{}", objects.len());
    for object in &objects {
        let name = &object["metadata"]["name"];
        assert_eq!(unknown(object)?, [""; 0], "{name}");
    }
    // A field that is not there, and one of another type, are seen.
    let mut wrong = objects.iter().find(|object| object["kind"] == "CronJob").unwrap().clone();
    wrong["spec"]["jobTemplate"]["spec"]["backofLimit"] = json!(4);
    assert_eq!(unknown(&wrong)?, ["CronJob.spec.jobTemplate.spec.backofLimit"]);
    wrong["spec"]["suspend"] = json!("no");
    assert!(unknown(&wrong).is_err());
    Ok(())
}
