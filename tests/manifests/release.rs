//! What a release of the chart has beside its pods: network policies, several clusters, and no rights.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{Fallible, charted, workloads};

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
