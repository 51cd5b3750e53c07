//! What every pod in `jobs/` promises: the *restricted* Pod Security Standard, bounded memory, a
//! retry policy that agrees with the exit codes, and an archiver that has a standby.
//!
//! `./dev lint` also validates the schema, and that `jobs/` is what the chart renders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/tools.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
    process::Command,
};

use k8s_openapi::{
    api::{apps, batch, core, networking},
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::{Value, json};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// The folders of `jobs/` that are applied.
const FOLDERS: [&str; 9] = [
    "base",
    "restore",
    "prune",
    "backup-once",
    "overlays/eks",
    "overlays/gke",
    "overlays/aks",
    "overlays/static",
    "overlays/local",
];

/// What `kubectl apply -k` would send for a folder of `jobs/`.
fn kustomized(folder: &str) -> Fallible<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs").join(folder);
    let built = Command::new(tools::tool("bin/kustomize")).arg("build").arg(path).output()?;
    assert!(built.status.success(), "{folder}: {}", String::from_utf8_lossy(&built.stderr));
    Ok(serde_saphyr::from_multiple(&String::from_utf8(built.stdout)?)?)
}

/// The objects in the manifests, under `<job>/<kind>`.
fn objects() -> Fallible<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for folder in ["base", "restore", "prune"] {
        for object in kustomized(folder)? {
            let job = object["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
            let kind = object["kind"].as_str().unwrap_or_default();
            found.insert(format!("{}/{kind}", job.unwrap_or_default()), object);
        }
    }
    Ok(found)
}

/// The specifications of everything that has pods, under the name of its job.
fn workloads() -> Fallible<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (name, object) in objects()? {
        let job = name.split('/').next().unwrap_or_default().to_owned();
        match object["kind"].as_str() {
            Some("CronJob") => found.insert(job, object["spec"]["jobTemplate"]["spec"].clone()),
            Some("Job" | "Deployment") => found.insert(job, object["spec"].clone()),
            _ => None,
        };
    }
    Ok(found)
}

/// Those of them that end.
fn jobs() -> Fallible<BTreeMap<String, Value>> {
    let mut jobs = workloads()?;
    jobs.retain(|_, spec| spec["template"]["spec"]["restartPolicy"] != "Always");
    Ok(jobs)
}

#[test]
fn every_manifest_bears_the_name_of_its_job() -> Fallible<()> {
    let workloads = workloads()?;
    let names: Vec<_> = workloads.keys().collect();
    let expected =
        ["archive", "backup", "drill", "exporter", "prune", "report", "restore", "verify"];
    assert_eq!(names, expected);
    for (job, spec) in &workloads {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jobs");
        assert!(
            source.join(job).is_dir() || source.join(format!("{job}.rs")).is_file(),
            "jobs/ has {job}, and there is no src/jobs/{job}"
        );
        let args = &spec["template"]["spec"]["containers"][0]["args"];
        assert_eq!(args[0], json!(job), "{job}");
    }
    Ok(())
}

#[test]
fn every_pod_is_restricted() -> Fallible<()> {
    for (job, spec) in workloads()? {
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], json!(false), "{job}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true), "{job}");
        assert!(pod["securityContext"]["runAsUser"].as_u64() > Some(0), "{job}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{job}");
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert_eq!(pod[forbidden], Value::Null, "{job}: {forbidden}");
        }
        let containers = pod["containers"].as_array().ok_or("containers")?;
        assert_eq!(containers.len(), 1, "{job}");
        let container = &containers[0];
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], json!(false), "{job}");
        assert_eq!(security["readOnlyRootFilesystem"], json!(true), "{job}");
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{job}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{job}");
        assert!(container["resources"]["requests"]["memory"].is_string(), "{job}");
        for volume in pod["volumes"].as_array().ok_or("volumes")? {
            assert_eq!(volume["hostPath"], Value::Null, "{job}");
            if !volume["emptyDir"].is_null() {
                assert_eq!(volume["emptyDir"]["medium"], "Memory", "{job}");
                assert!(volume["emptyDir"]["sizeLimit"].is_string(), "{job}");
            }
        }
    }
    Ok(())
}

#[test]
fn no_secret_is_in_the_environment_or_the_arguments() -> Fallible<()> {
    for (job, spec) in workloads()? {
        let container = &spec["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array().ok_or("env")? {
            assert_eq!(variable["valueFrom"]["secretKeyRef"], Value::Null, "{job}");
        }
    }
    Ok(())
}

#[test]
fn retries_follow_the_exit_codes() -> Fallible<()> {
    let names: Vec<_> = jobs()?.keys().cloned().collect();
    assert_eq!(names, ["backup", "drill", "prune", "report", "restore", "verify"]);
    for (job, spec) in jobs()? {
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never", "{job}");
        assert!(spec["activeDeadlineSeconds"].is_u64(), "{job}");
        assert!(spec["ttlSecondsAfterFinished"].is_u64(), "{job}");
        let rules = &spec["podFailurePolicy"]["rules"];
        assert_eq!(rules[0]["action"], "Ignore", "{job}");
        assert_eq!(rules[0]["onPodConditions"][0]["type"], "DisruptionTarget", "{job}");
        assert_eq!(rules[1]["action"], "FailJob", "{job}");
        // docs/exit-codes.md says "no" to a retry of these.
        assert_eq!(rules[1]["onExitCodes"]["values"], json!([2, 3, 6, 7, 8]), "{job}");
        assert_eq!(rules[1]["onExitCodes"]["containerName"], "backstay", "{job}");
    }
    for (name, object) in objects()? {
        if object["kind"] == "CronJob" {
            assert_eq!(object["spec"]["concurrencyPolicy"], "Forbid", "{name}");
            assert_eq!(object["spec"]["timeZone"], "Etc/UTC", "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_backup_is_named_after_its_job_and_cannot_decrypt() -> Fallible<()> {
    let jobs = jobs()?;
    let pod = &jobs["backup"]["template"]["spec"];
    let env = pod["containers"][0]["env"].as_array().ok_or("env")?;
    let value = |name: &str| env.iter().find(|v| v["name"] == name).cloned().unwrap_or_default();
    assert_eq!(
        value("JOB_UID")["valueFrom"]["fieldRef"]["fieldPath"],
        "metadata.labels['batch.kubernetes.io/controller-uid']"
    );
    let id = value("BACKSTAY_ID");
    assert!(id["value"].as_str().is_some_and(|id| id.ends_with("-$(JOB_UID)")), "{id}");
    assert_eq!(value("BACKSTAY_KEK")["value"], "file:/run/keys/kek.pub");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "backstay-writer");
    Ok(())
}

#[test]
fn prune_keeps_something_and_has_no_kek() -> Fallible<()> {
    let pod = &jobs()?["prune"]["template"]["spec"];
    let env = |pod: &Value| -> BTreeMap<String, Value> {
        let env = pod["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
        env.iter().map(|v| (name(v), v["value"].clone())).collect()
    };
    let told = env(pod);
    assert_eq!(
        (&told["BACKSTAY_WINDOW"], &told["BACKSTAY_KEEP_MONTHLY"]),
        (&"30d".into(), &"12".into())
    );
    assert_eq!(told["BACKSTAY_GRACE"], "48h");
    assert!(!told.contains_key("BACKSTAY_KEEP_LAST") && !told.contains_key("BACKSTAY_KEK"));
    assert_eq!(told["BACKSTAY_SIGNER"], "file:/run/keys/kek.signer");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "backstay-prune");
    let in_a_service = env(&rendered("key-services.yaml")?["prune"]["spec"]);
    assert_eq!(in_a_service["BACKSTAY_SIGNER"], "vault:transit/backstay-prune");
    assert!(!in_a_service.contains_key("BACKSTAY_KEK"));
    Ok(())
}

#[test]
fn the_archiver_stands_by_can_be_replaced_and_cannot_decrypt() -> Fallible<()> {
    let workloads = workloads()?;
    let spec = &workloads["archive"];
    assert!(spec["replicas"].as_u64() >= Some(2));
    assert_eq!(spec["strategy"]["type"], "RollingUpdate");
    // A standby is never ready, and becomes the owner only when the old one is gone: a rollout that
    // waits for the one before it takes away the other would wait for ever.
    assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], "100%");
    let labels = &spec["template"]["metadata"]["labels"];
    assert_eq!(&spec["selector"]["matchLabels"], labels);
    let pod = &spec["template"]["spec"];
    // The tail is shipped and the log released before it ends.
    assert!(pod["terminationGracePeriodSeconds"].as_u64() >= Some(30));
    let container = &pod["containers"][0];
    assert_eq!(container["resources"]["limits"]["memory"], "128Mi");
    assert_eq!(container["resources"]["requests"]["memory"], "64Mi");
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "metrics" }));
    }
    assert_eq!(container["ports"], json!([{ "name": "metrics", "containerPort": 9405 }]));
    let env = container["env"].as_array().ok_or("env")?;
    let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("BACKSTAY_LISTEN"), Some(json!("0.0.0.0:9405")));
    assert_eq!(value("BACKSTAY_KEK"), Some(json!("file:/run/keys/kek.pub")));
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "backstay-writer");
    Ok(())
}

#[test]
fn the_exporter_has_no_key_at_all() -> Fallible<()> {
    let workloads = workloads()?;
    let pod = &workloads["exporter"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["ports"], json!([{ "name": "metrics", "containerPort": 9407 }]));
    let env = container["env"].as_array().ok_or("env")?;
    let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("BACKSTAY_KEK"), None);
    assert_eq!(value("BACKSTAY_TRUST"), Some(json!("/run/keys/kek.trust")));
    let items = &pod["volumes"][0]["secret"]["items"];
    assert_eq!(*items, json!([{ "key": "kek.trust", "path": "kek.trust" }]));
    Ok(())
}

#[test]
fn a_drill_has_a_bounded_disk_of_its_own_and_signs_what_it_shows() -> Fallible<()> {
    let jobs = jobs()?;
    let pod = &jobs["drill"]["template"]["spec"];
    let volume = |name: &str| {
        let volumes = pod["volumes"].as_array();
        volumes.and_then(|all| all.iter().find(|v| v["name"] == name)).cloned().unwrap_or_default()
    };
    let claim = &volume("drill")["ephemeral"]["volumeClaimTemplate"]["spec"];
    assert!(claim["resources"]["requests"]["storage"].is_string(), "{claim}");
    assert_eq!(volume("keys")["secret"]["secretName"], "backstay-driller");
    let env = pod["containers"][0]["env"].as_array().ok_or("env")?;
    let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("BACKSTAY_SCRATCH"), Some(json!("/drill")));
    assert_eq!(value("BACKSTAY_KEK"), Some(json!("file:/run/keys/kek")));
    assert_eq!(value("BACKSTAY_ASSERTIONS"), Some(json!("/run/assertions/assertions.sql")));
    assert_eq!(pod["containers"][0]["args"], json!(["drill", "--random"]));
    Ok(())
}

/// The objects that the chart makes with these values.
fn charted(values: &str) -> Fallible<Vec<Value>> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/backstay");
    let made = Command::new(tools::tool("bin/helm"))
        .args(["template", "--kube-version", "1.31.0", "backstay"])
        .arg(&chart)
        .arg("-f")
        .arg(chart.join("ci").join(values))
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(serde_saphyr::from_multiple(&String::from_utf8(made.stdout)?)?)
}

/// The pods that the chart makes with these values, under the name of the job.
fn rendered(values: &str) -> Fallible<BTreeMap<String, Value>> {
    let mut pods = BTreeMap::new();
    for object in charted(values)? {
        let job = object["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
        let spec = match object["kind"].as_str() {
            Some("CronJob") => &object["spec"]["jobTemplate"]["spec"],
            Some("Job" | "Deployment") => &object["spec"],
            _ => continue,
        };
        pods.insert(job.ok_or("component")?.to_owned(), spec["template"].clone());
    }
    Ok(pods)
}

#[test]
fn keys_in_a_service_are_reached_by_writers_and_readers_each_with_their_own() -> Fallible<()> {
    let mut pods = rendered("key-services.yaml")?;
    // It has no KEK at all.
    assert!(pods.remove("prune").is_some());
    let all = ["archive", "backup", "drill", "restore", "verify"];
    assert_eq!(pods.keys().collect::<Vec<_>>(), all);
    for (job, pod) in pods {
        assert_eq!(pod["metadata"]["labels"]["azure.workload.identity/use"], "true", "{job}");
        let spec = &pod["spec"];
        let container = &spec["containers"][0];
        let env = container["env"].as_array().ok_or("env")?;
        let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
        assert_eq!(value("BACKSTAY_KEK"), Some(json!("vault:transit/shop")), "{job}");
        assert_eq!(value("BACKSTAY_TRUST"), Some(json!("/run/keys/kek.trust")), "{job}");
        assert_eq!(value("BACKSTAY_VAULT_ROLE"), Some(json!("backstay")), "{job}");
        // Who reads neither signs nor makes keys; a drill signs what it has shown.
        let writes = ["archive", "backup"].contains(&job.as_str());
        let signs = writes || job == "drill";
        let signer = signs.then(|| json!("vault:transit/backstay-signer"));
        assert_eq!(value("BACKSTAY_SIGNER"), signer, "{job}");
        let also = json!("file:/run/keys/break-glass.pub,aws-kms:alias/shop");
        assert_eq!(value("BACKSTAY_ALSO_KEK"), writes.then_some(also), "{job}");
        // A token for Vault alone, where the variable says that it is.
        let volumes = spec["volumes"].as_array().ok_or("volumes")?;
        let token = volumes.iter().find(|volume| volume["name"] == "token").ok_or("token")?;
        let source = &token["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!((&source["audience"], &source["path"]), (&json!("vault"), &json!("token")));
        let mounts = container["volumeMounts"].as_array().ok_or("volumeMounts")?;
        assert!(mounts.iter().any(|m| m["name"] == "token" && m["mountPath"] == "/run/token"));
        assert_eq!(value("BACKSTAY_VAULT_JWT_FILE"), Some(json!("/run/token/token")), "{job}");
    }
    Ok(())
}

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

#[test]
fn the_pods_of_a_cluster_reach_what_they_need_and_are_reached_for_metrics_alone() -> Fallible<()> {
    let policies: BTreeMap<_, _> = charted("jobs.yaml")?
        .into_iter()
        .filter(|object| object["kind"] == "NetworkPolicy")
        .map(|policy| {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            (name, policy["spec"].clone())
        })
        .collect();
    let closed = &policies["backstay-deny"];
    assert_eq!(closed["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!((&closed["ingress"], &closed["egress"]), (&Value::Null, &Value::Null));
    for (job, spec) in workloads()? {
        // The first closes every pod, and its own opens.
        let labels = &spec["template"]["metadata"]["labels"];
        let policy = &policies[&format!("backstay-{job}")];
        for selector in [closed, policy] {
            for (name, value) in selector["podSelector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(&labels[name], value, "{job}: {name}");
            }
        }
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]), "{job}");
        let scraped = ["archive", "exporter"].contains(&job.as_str());
        let open = json!([{ "ports": [{ "protocol": "TCP", "port": "metrics" }] }]);
        assert_eq!(policy["ingress"], if scraped { open } else { json!([]) }, "{job}");
        let rules = policy["egress"].as_array().ok_or("egress")?.iter();
        let ports: BTreeSet<_> = rules
            .flat_map(|rule| rule["ports"].as_array().cloned().unwrap_or_default())
            .filter_map(|port| port["port"].as_u64())
            .collect();
        let mut expected = BTreeSet::from([53, 80, 443, 988]);
        match job.as_str() {
            "archive" => expected.insert(3306),
            "backup" => expected.insert(8443),
            _ => false,
        };
        assert_eq!(ports, expected, "{job}");
    }
    Ok(())
}

#[test]
fn clusters_of_one_release_have_their_own_objects_and_values() -> Fallible<()> {
    let objects = charted("clusters.yaml")?;
    let names: Vec<_> = objects
        .iter()
        .filter_map(|o| o["metadata"]["name"].as_str().zip(o["kind"].as_str()))
        .collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "a name twice");
    let backup = |name: &str| {
        let found =
            objects.iter().find(|o| o["kind"] == "CronJob" && o["metadata"]["name"] == name);
        let spec = found.unwrap()["spec"].clone();
        let pod = spec["jobTemplate"]["spec"]["template"]["spec"].clone();
        let env = pod["containers"][0]["env"].as_array().unwrap().clone();
        let value = move |name: &str| {
            env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone()).unwrap_or_default()
        };
        (spec["schedule"].clone(), pod, value)
    };
    let (schedule, pod, env) = backup("backstay-shop-backup");
    assert_eq!((schedule, env("BACKSTAY_CLUSTER")), (json!("17 2 * * *"), json!("shop")));
    assert_eq!(env("BACKSTAY_SOURCE"), "https://shop-0.shop:8443");
    assert_eq!(pod["securityContext"]["runAsUser"], json!(1000));
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "shop-writer");
    assert_eq!(pod["serviceAccountName"], "backstay-shop-backup");
    let (schedule, pod, env) = backup("backstay-ledger-backup");
    assert_eq!((schedule, env("BACKSTAY_CLUSTER")), (json!("47 2 * * *"), json!("Ledger.2")));
    assert_eq!(env("BACKSTAY_ID"), "Ledger.2-$(JOB_UID)");
    assert_eq!(pod["securityContext"]["runAsUser"], json!(999));
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "backstay-writer");
    let exporters = names.iter().filter(|name| **name == ("backstay-exporter", "Deployment"));
    assert_eq!(exporters.count(), 1);
    Ok(())
}

#[test]
fn a_release_needs_no_rights_in_kubernetes() -> Fallible<()> {
    for object in charted("clusters.yaml")? {
        let kind = object["kind"].as_str().unwrap_or_default();
        assert!(!kind.contains("Role"), "{kind}");
    }
    Ok(())
}
