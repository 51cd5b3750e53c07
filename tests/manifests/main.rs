//! What every pod in `jobs/` promises: the *restricted* Pod Security Standard, bounded memory, a
//! retry policy that agrees with the exit codes, and an archiver that has a standby.
//!
//! `./dev lint` also validates the schema, and that `jobs/` is what the chart renders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/tools.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tools;

mod release;
mod types;

use std::{collections::BTreeMap, error::Error, fs, path::Path, process::Command};

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
        restricted(container, &job);
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

/// Every pod of every folder and of the components, with all its containers, is restricted; the
/// database's own container beside ours is not ours to judge.
#[test]
fn overlays_and_components_keep_what_the_base_promises() -> Fallible<()> {
    let mut seen = 0;
    for folder in FOLDERS {
        for object in kustomized(folder)? {
            let spec = match object["kind"].as_str() {
                Some("CronJob") => &object["spec"]["jobTemplate"]["spec"],
                Some("Job" | "Deployment") => &object["spec"],
                _ => continue,
            };
            seen += 1;
            let pod = &spec["template"]["spec"];
            let name = format!("{folder}: {}", object["metadata"]["name"]);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true), "{name}");
            assert_eq!(pod["automountServiceAccountToken"], json!(false), "{name}");
            // An overlay that misspells the container's name would add one.
            let containers = pod["containers"].as_array().ok_or("containers")?;
            assert_eq!(containers.len(), 1, "{name}");
            restricted(&containers[0], &name);
            let env = containers[0]["env"].as_array().ok_or("env")?;
            let values = |of: &str| env.iter().filter(|v| v["name"] == of).count();
            assert_eq!(values("BACKSTAY_REPO"), 1, "{name}");
        }
    }
    assert!(seen > 30, "{seen}");
    for (component, list) in [
        ("archive-sidecar", "containers"),
        ("serve-sidecar", "containers"),
        ("restore-init", "initContainers"),
    ] {
        let file = format!("jobs/components/{component}/patch.yaml");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
        let patch: Value = serde_saphyr::from_str(&text)?;
        let pod = &patch["spec"]["template"]["spec"];
        let container = &pod[list][0];
        restricted(container, component);
        // The pod is somebody else's, so it is the container that says these.
        assert_eq!(container["securityContext"]["runAsNonRoot"], json!(true), "{component}");
        assert_eq!(
            container["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{component}"
        );
        let names = pod["volumes"].as_array().ok_or("volumes")?.iter();
        let mut names = names.map(|volume| volume["name"].as_str().unwrap_or_default());
        assert!(names.all(|name| name.starts_with("backstay-")), "{component}");
        // The agent has no key and no credential of the store.
        let keys = text.contains("/run/keys") || text.contains("BACKSTAY_REPO");
        assert_eq!(keys, component != "serve-sidecar", "{component}");
    }
    Ok(())
}

fn restricted(container: &Value, name: &str) {
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], json!(false), "{name}");
    assert_eq!(security["readOnlyRootFilesystem"], json!(true), "{name}");
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
    assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
    assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
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
