//! `aws-kms:<ARN>` or `aws-kms:alias/<name>`: which key of AWS KMS is meant.

/// A key of AWS KMS, as the caller named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crypto) struct AwsKey(String);

/// The parts of a key's or an alias's ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (arn, partition, service, region, account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        let is_one = arn == "arn"
            && partition.starts_with("aws")
            && service == "kms"
            && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && account.len() == 12
            && account.chars().all(|c| c.is_ascii_digit())
            && is_resource(resource);
        is_one.then_some(Self { partition, region, account, resource })
    }

    /// The id of a key that has copies in several regions.
    fn multi_region(&self) -> Option<&'a str> {
        self.resource.strip_prefix("key/").filter(|id| id.starts_with("mrk-"))
    }

    fn is_alias(&self) -> bool {
        self.resource.starts_with("alias/")
    }
}

/// `key/…` or `alias/…`.
fn is_resource(text: &str) -> bool {
    let name = text.strip_prefix("key/").or_else(|| text.strip_prefix("alias/"));
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c))
    })
}

impl AwsKey {
    /// Reads what follows `aws-kms:`.
    pub(in crate::crypto) fn parse(text: &str) -> Option<Self> {
        let is_alias = text.starts_with("alias/") && is_resource(text);
        (is_alias || Arn::parse(text).is_some()).then(|| Self(text.to_owned()))
    }

    /// As AWS takes it.
    pub(in crate::crypto) fn id(&self) -> &str {
        &self.0
    }

    /// The region that it names.
    pub(in crate::crypto) fn region(&self) -> Option<&str> {
        Arn::parse(&self.0).map(|arn| arn.region)
    }

    /// Which key has to open a wrap that `key_arn` made under the name `name`; nothing when it is
    /// not ours. A wrap is ours when it was made under our name, by our key, or by a copy of our
    /// key in another region.
    pub(in crate::crypto) fn opens(&self, name: &str, key_arn: Option<&str>) -> Option<String> {
        let own = Arn::parse(&self.0);
        if own.is_none_or(|arn| arn.is_alias()) {
            if self.to_string() != name {
                return None;
            }
            // The alias may point elsewhere by now: the key that made the wrap is what opens it,
            // as long as it is one that the alias could have meant.
            let made = key_arn.filter(|made| {
                Arn::parse(made).is_some_and(|made| {
                    own.is_none_or(|own| {
                        (own.partition, own.region, own.account)
                            == (made.partition, made.region, made.account)
                    })
                })
            });
            return Some(made.unwrap_or(&self.0).to_owned());
        }
        let named = name.strip_prefix("aws-kms:");
        let related = |other: &str| {
            other == self.0
                || own.zip(Arn::parse(other)).is_some_and(|(own, other)| {
                    own.multi_region().is_some()
                        && (own.partition, own.account, own.resource)
                            == (other.partition, other.account, other.resource)
                })
        };
        (named.is_some_and(related) || key_arn.is_some_and(related)).then(|| self.0.clone())
    }
}

impl std::fmt::Display for AwsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "aws-kms:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const OTHER: &str =
        "arn:aws:kms:eu-west-1:111122223333:key/0000abcd-12ab-34cd-56ef-1234567890ab";
    const MRK_IE: &str =
        "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    const MRK_US: &str =
        "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    const ALIAS: &str = "arn:aws:kms:eu-west-1:111122223333:alias/backstay/shop";

    fn key(text: &str) -> AwsKey {
        AwsKey::parse(text).unwrap()
    }

    fn opens(own: &str, made_as: &str, made_by: Option<&str>) -> Option<String> {
        key(own).opens(&format!("aws-kms:{made_as}"), made_by)
    }

    #[test]
    fn a_name_is_an_arn_or_an_alias() {
        assert_eq!(key(KEY).region(), Some("eu-west-1"));
        assert_eq!(
            key("arn:aws-cn:kms:cn-north-1:111122223333:alias/a").region(),
            Some("cn-north-1")
        );
        assert_eq!(key("alias/backstay").region(), None);
        for bad in [
            "",
            "alias/",
            "key/1234",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:eu-west-1:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:kms:eu-west-1:1111:key/1",
            "arn:aws:kms:eu-west-1:111122223333:grant/1",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1.evil:111122223333:key/1",
        ] {
            assert_eq!(AwsKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_opens_what_it_made_under_whatever_name() {
        assert_eq!(opens(KEY, KEY, Some(KEY)).as_deref(), Some(KEY));
        assert_eq!(opens(KEY, ALIAS, Some(KEY)).as_deref(), Some(KEY));
        assert_eq!(opens(KEY, OTHER, Some(OTHER)), None);
        assert_eq!(opens(KEY, ALIAS, Some(OTHER)), None);
        assert_eq!(key(KEY).opens("file:abc", None), None);
    }

    #[test]
    fn copies_in_other_regions_open_one_another_s_wraps() {
        assert_eq!(opens(MRK_US, MRK_IE, Some(MRK_IE)).as_deref(), Some(MRK_US));
        assert_eq!(opens(MRK_US, ALIAS, Some(MRK_IE)).as_deref(), Some(MRK_US));
        let stranger = MRK_IE.replace("111122223333", "999922223333");
        assert_eq!(opens(MRK_US, &stranger, Some(&stranger)), None, "another account's");
        let single = KEY.replace("eu-west-1", "us-east-1");
        assert_eq!(opens(&single, KEY, Some(KEY)), None, "not one with copies");
    }

    #[test]
    fn an_alias_that_points_elsewhere_now_still_opens_what_it_made() {
        assert_eq!(opens(ALIAS, ALIAS, Some(KEY)).as_deref(), Some(KEY));
        assert_eq!(opens(ALIAS, ALIAS, None).as_deref(), Some(ALIAS));
        assert_eq!(opens("alias/a", "alias/a", Some(KEY)).as_deref(), Some(KEY));
        let elsewhere = KEY.replace("111122223333", "999922223333");
        assert_eq!(opens(ALIAS, ALIAS, Some(&elsewhere)).as_deref(), Some(ALIAS));
        assert_eq!(opens(ALIAS, KEY, Some(KEY)), None, "give the key's own ARN");
    }
}
