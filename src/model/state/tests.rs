use super::*;

const A: &str = "9a3225ed-e51b-11f1-86df-02fc00000001";
const B: &str = "9a3225ed-e51b-11f1-86df-02fc00000002";

fn mysql(text: &str) -> GtidState {
    GtidState::parse(Flavor::Mysql, text).unwrap()
}

fn mariadb(text: &str) -> GtidState {
    GtidState::parse(Flavor::Mariadb, text).unwrap()
}

#[test]
fn what_is_missing_is_named_and_counted() {
    let archived = mysql(&format!("{A}:1-100,{B}:1-5"));
    let server = mysql(&format!("{A}:1-90:95,{B}:1-9"));
    let missing = archived.missing_from(&server).unwrap();
    assert_eq!((missing.text, missing.count), (format!("{A}:91-94:96-100"), 9));
    assert_eq!(server.missing_from(&archived).unwrap().text, format!("{B}:6-9"));
    assert!(!archived.is_within(&server) && archived.meets(&server));
    assert_eq!(archived.shared_with(&server), mysql(&format!("{A}:1-90:95,{B}:1-5")));
    assert!(mysql(&format!("{A}:95")).is_within(&server));
}

#[test]
fn parts_of_a_state_are_told() {
    let state = mysql(&format!("{A}:1-90:95:audit:1-2,{B}:1-9"));
    let sources: Vec<&str> = state.sources().collect();
    assert_eq!(sources, [A, &format!("{A}:audit"), B]);
    assert_eq!(state.of_source(A), Some(mysql(&format!("{A}:1-90:95"))));
    assert_eq!(state.of_source("none"), None);
    let state = mariadb("0-1-98,0-2-105,1-1-3");
    let numbers: Vec<_> = state.last_numbers().collect();
    assert_eq!(numbers, [(0, 1, 98), (0, 2, 105), (1, 1, 3)]);
    assert!(mariadb("0-1-98,1-1-2").is_within(&state));
    assert!(!mariadb("0-1-99").is_within(&state) && !state.is_within(&mariadb("")));
    assert!(mysql("").is_within(&state) && !mysql(&format!("{A}:1")).is_within(&state));
}

#[test]
fn mariadb_servers_are_told_apart() {
    let archived = mariadb("0-1-100");
    let promoted = mariadb("0-1-98,0-2-105");
    let missing = archived.missing_from(&promoted).unwrap();
    assert_eq!((missing.text.as_str(), missing.count), ("0-1-99…100", 2));
    assert!(archived.is_within(&mariadb("0-1-100,0-2-105")));
    assert_eq!(promoted.position().to_string(), "0-2-105");
    assert_eq!(promoted.to_string(), "0-1-98,0-2-105");
    assert_eq!(archived.shared_with(&promoted).to_string(), "0-1-98");
    assert!(promoted.names_source("1") && !promoted.names_source("3"));
    // Numbers below 98 are of server 2: what server 1 wrote before is older than that.
    let missing = mariadb("0-1-50,0-2-98,0-1-100").missing_from(&mariadb("0-1-50,0-2-98"));
    assert_eq!(missing.unwrap().text, "0-1-99…100");
}

#[test]
fn a_state_ends_before_a_number() {
    let state = mariadb("0-2-90,0-1-100,1-5-7,1-1-3");
    assert_eq!(state.before(0, 99).to_string(), "0-2-90,0-1-98,1-5-7,1-1-3");
    assert_eq!(state.missing_from(&state.before(0, 99)).unwrap().text, "0-1-99…100");
    assert_eq!(state.before(0, 1).to_string(), "1-5-7,1-1-3");
}

#[test]
fn the_server_that_wrote_last_stands_last() {
    let mut state = mariadb("0-2-5,0-1-7");
    assert_eq!(state.position().to_string(), "0-1-7");
    state.add_mariadb(0, 2, 8);
    assert_eq!(state.to_string(), "0-1-7,0-2-8");
    assert_eq!(state.to_string().parse::<GtidState>().unwrap(), state);
}

#[test]
fn states_grow() {
    let mut state = mysql(&format!("{A}:1-10"));
    state.add_mysql(A, 11);
    state.merge(&mysql(&format!("{A}:12-20,{B}:1")));
    assert_eq!(state, mysql(&format!("{A}:1-20,{B}:1")));
    let mut state = mariadb("0-1-7,1-1-3");
    state.merge(&mariadb("0-2-9"));
    assert_eq!(state.to_string(), "0-1-7,0-2-9,1-1-3");
}

#[test]
fn the_empty_state_has_no_flavor() {
    let mut state: GtidState = "".parse().unwrap();
    assert_eq!(state, GtidState::empty(Flavor::Mariadb));
    state.merge(&mariadb("0-1-7"));
    assert_eq!(state, mariadb("0-1-7"));
    assert!(mysql("").is_within(&mariadb("")) && !mysql("").meets(&state));
}

#[test]
fn a_copy_has_what_was_before_it() {
    // Server 41 was the primary twice, and is a copy of 42 at 23388 now.
    let archived = mariadb("0-31-5316,0-32-8256,0-41-22626,0-42-24083,1-9-4");
    let whole = mariadb("0-42-23388").completed_from(&archived);
    assert_eq!(whole, mariadb("0-31-5316,0-32-8256,0-41-22626,0-42-23388"));
    let lost = archived.missing_from(&whole).unwrap();
    assert_eq!((lost.text.as_str(), lost.count), ("0-42-23389…24083,1-9-1…4", 699));
    // Nothing follows from numbers that are not in common, or from servers that are named.
    for other in ["0-7-90000", "0-41-23000", "0-32-8300,0-41-3", "1-31-9000", ""] {
        let other = mariadb(other);
        let named: Vec<_> = other.last_numbers().map(|(_, server, _)| server).collect();
        let whole = other.completed_from(&archived);
        let known = |(domain, server, last)| {
            named.contains(&server) || last < 22626 && archived.sequence(domain, server) == last
        };
        assert!(whole.last_numbers().all(known), "{whole}");
        assert!(other.is_within(&whole) && other.position() == whole.position());
    }
    assert_eq!(mariadb("0-7-90000").completed_from(&archived), mariadb("0-7-90000"));
    assert_eq!(mysql(&format!("{A}:1-3")).completed_from(&archived), mysql(&format!("{A}:1-3")));
}
