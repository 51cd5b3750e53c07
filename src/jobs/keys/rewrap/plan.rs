//! What a record of a DEK needs, by its wraps alone.

use crate::model::WrappedDek;

/// The KEK that shall open every DEK.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its name.
    pub(super) kek: String,
    /// The version that it wraps with now, where its provider has versions.
    pub(super) version: Option<String>,
}

impl Wanted {
    /// Whether one of these wraps is already as wanted.
    pub(super) fn is_among(&self, wraps: &[WrappedDek]) -> bool {
        wraps.iter().any(|wrap| wrap.kek == self.kek && wrap.kek_version == self.version)
    }
}

/// The wraps with the new one. All others stay, but for one by the same KEK: a reader takes the
/// first that bears its KEK's name, so there is one of each.
pub(super) fn with(wraps: &[WrappedDek], new: WrappedDek) -> Vec<WrappedDek> {
    let others = wraps.iter().filter(|wrap| wrap.kek != new.kek).cloned();
    let others: Vec<_> = others.collect();
    others.into_iter().chain([new]).collect()
}

/// The wraps without those of these KEKs; nothing when there is none of them.
pub(super) fn without(wraps: &[WrappedDek], drop: &[String]) -> Option<Vec<WrappedDek>> {
    let kept: Vec<_> = wraps.iter().filter(|wrap| !drop.contains(&wrap.kek)).cloned().collect();
    (kept.len() < wraps.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(kek: &str, version: Option<&str>) -> WrappedDek {
        WrappedDek {
            kek: kek.into(),
            kek_version: version.map(Into::into),
            algorithm: "a".into(),
            ciphertext: vec![1],
        }
    }

    #[test]
    fn a_wrap_of_another_version_is_not_the_one_wanted() {
        let wanted = Wanted { kek: "k".into(), version: Some("2".into()) };
        assert!(wanted.is_among(&[wrap("x", None), wrap("k", Some("2"))]));
        assert!(!wanted.is_among(&[wrap("k", Some("1")), wrap("x", Some("2"))]));
        assert!(!wanted.is_among(&[wrap("k", None)]));
        let unversioned = Wanted { kek: "k".into(), version: None };
        assert!(unversioned.is_among(&[wrap("k", None)]));
    }

    #[test]
    fn others_stay_and_each_kek_has_one_wrap() {
        let wraps = [wrap("old", None), wrap("safe", None), wrap("k", Some("1"))];
        let names = |wraps: &[WrappedDek]| -> Vec<String> {
            wraps.iter().map(|w| format!("{}{:?}", w.kek, w.kek_version)).collect()
        };
        let with = with(&wraps, wrap("k", Some("2")));
        assert_eq!(names(&with), ["oldNone", "safeNone", "kSome(\"2\")"]);
        let left = without(&with, &["old".into(), "never".into()]).unwrap();
        assert_eq!(names(&left), ["safeNone", "kSome(\"2\")"]);
        assert!(without(&left, &["old".into()]).is_none());
    }
}
