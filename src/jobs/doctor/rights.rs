//! What this identity may do with the KEK and the signer, and whether it should. Pure: everything
//! was tried before.

use super::{Check, Status};
use crate::model::Access;

/// For which side of the work an identity is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It makes backups and archives: it wraps and signs.
    Writer,
    /// It restores and verifies: it unwraps.
    Reader,
}

/// What came of trying something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum May {
    /// It was done.
    Yes,
    /// It was refused, for want of the right.
    No,
    /// It could not be tried, for this reason.
    Unknown(String),
}

const KEK: &str = "kek-rights";
const SIGNER: &str = "signer-rights";

/// As whom it was tried, as far as that is known.
fn whom(access: Option<&Access>) -> String {
    match access {
        Some(Access { kind, principal: Some(principal), .. }) => {
            format!("{principal} ({kind})")
        }
        Some(Access { kind, principal: None, .. }) => format!("this identity ({kind})"),
        None => "this identity".to_owned(),
    }
}

/// What an identity may do with the KEK.
pub(super) fn kek(
    wraps: &May,
    unwraps: &May,
    access: Option<&Access>,
    side: Option<Side>,
) -> Check {
    let whom = whom(access);
    let (may, is) = match (wraps, unwraps) {
        (May::Yes, May::Yes) => ("may wrap and may unwrap", "a writer and a reader in one"),
        (May::Yes, May::No) => ("may wrap and may not unwrap", "a writer"),
        (May::No, May::Yes) => ("may not wrap and may unwrap", "a reader"),
        (May::No, May::No) => ("may neither wrap nor unwrap", "neither a writer nor a reader"),
        (May::Unknown(why), _) | (_, May::Unknown(why)) => {
            let remedy = "give --repo, --cluster and --trust with a backup that this KEK opens";
            return Check::new(KEK, Status::NotChecked, format!("not checked: {why}"), remedy);
        }
    };
    let detail = format!("{whom} {may}: {is}");
    let warn = |remedy| Check::new(KEK, Status::Warn, detail.clone(), remedy);
    let fail = |remedy| Check::fail(KEK, detail.clone(), remedy);
    match (side, wraps == &May::Yes, unwraps == &May::Yes) {
        (Some(Side::Writer), true, true) => warn(
            "a writer that may unwrap can read every backup: give it an identity, or the public half of a \
             KEK, that may only wrap",
        ),
        (Some(Side::Writer), false, _) => {
            fail("grant this identity to wrap: no backup begins without it")
        }
        (Some(Side::Reader), _, false) => fail(
            "grant this identity to unwrap, or give --kek with the private half: nothing can be restored",
        ),
        (None, false, false) => fail("grant this identity to wrap or to unwrap"),
        _ => Check::ok(KEK, detail),
    }
}

/// What an identity may do with the signer; nothing when none was given.
pub(super) fn signer(signs: Option<&May>, side: Option<Side>) -> Check {
    match (signs, side) {
        (Some(May::Yes), Some(Side::Reader)) => Check::new(
            SIGNER,
            Status::Warn,
            "this identity may sign, and a reader needs not",
            "take the signer from it: whoever may sign can write records that all believe",
        ),
        (Some(May::Yes), _) => Check::ok(SIGNER, "this identity may sign: a writer"),
        (Some(May::No), Some(Side::Reader)) => {
            Check::ok(SIGNER, "this identity may not sign, and a reader needs not")
        }
        (None, Some(Side::Reader)) => {
            Check::ok(SIGNER, "no signer was given, and a reader needs none")
        }
        (Some(May::No), Some(Side::Writer)) => Check::fail(
            SIGNER,
            "this identity may not sign",
            "grant it to sign: what it writes would not be believed",
        ),
        (None, Some(Side::Writer)) => Check::fail(
            SIGNER,
            "no signer was given",
            "give --signer: what a writer writes has to be signed",
        ),
        (Some(May::No), None) => Check::ok(SIGNER, "this identity may not sign: no writer"),
        (Some(May::Unknown(why)), _) => {
            Check::new(SIGNER, Status::NotChecked, format!("not checked: {why}"), "check --signer")
        }
        (None, None) => Check::not_checked(SIGNER, "--signer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccessKind;

    #[test]
    fn a_writer_that_may_unwrap_is_warned_of_and_a_reader_that_may_not_fails() {
        use May::{No, Yes};
        use Side::{Reader, Writer};
        for (wraps, unwraps, side, expected) in [
            (Yes, No, Some(Writer), Status::Ok),
            (Yes, Yes, Some(Writer), Status::Warn),
            (No, Yes, Some(Writer), Status::Fail),
            (No, No, Some(Writer), Status::Fail),
            (No, Yes, Some(Reader), Status::Ok),
            (Yes, Yes, Some(Reader), Status::Ok),
            (Yes, No, Some(Reader), Status::Fail),
            (No, No, Some(Reader), Status::Fail),
            (Yes, No, None, Status::Ok),
            (No, Yes, None, Status::Ok),
            (Yes, Yes, None, Status::Ok),
            (No, No, None, Status::Fail),
            (No, May::Unknown("w".into()), Some(Reader), Status::NotChecked),
        ] {
            let check = kek(&wraps, &unwraps, None, side);
            assert_eq!(check.status, expected, "{wraps:?} {unwraps:?} {side:?}");
            assert_eq!(check.remedy.is_empty(), expected == Status::Ok);
        }
    }

    #[test]
    fn only_a_writer_signs() {
        use May::{No, Yes};
        use Side::{Reader, Writer};
        for (signs, side, expected) in [
            (Some(Yes), Some(Writer), Status::Ok),
            (Some(No), Some(Writer), Status::Fail),
            (None, Some(Writer), Status::Fail),
            (Some(Yes), Some(Reader), Status::Warn),
            (Some(No), Some(Reader), Status::Ok),
            (None, Some(Reader), Status::Ok),
            (Some(Yes), None, Status::Ok),
            (Some(No), None, Status::Ok),
            (None, None, Status::NotChecked),
        ] {
            assert_eq!(signer(signs.as_ref(), side).status, expected, "{signs:?} {side:?}");
        }
    }

    #[test]
    fn it_is_told_as_whom() {
        let mut access = Access::of(AccessKind::PodIdentity);
        let detail = |access: &Access| kek(&May::Yes, &May::No, Some(access), None).detail;
        assert!(detail(&access).starts_with("this identity (pod-identity) may wrap and may not"));
        access.principal = Some("node@p".to_owned());
        assert_eq!(detail(&access), "node@p (pod-identity) may wrap and may not unwrap: a writer");
    }
}
