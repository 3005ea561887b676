//! Which document a request means, and whether its sender may ask for it.

use super::listed::Listed;
use crate::auth::Caller;
use crate::digest::{Digest, digest, parse};
use crate::failure::{Code, Failure};
use crate::params::Wanted;
use crate::{Audience, Error, Options};

/// Persisted documents: those on a fixed list, and those that clients name by the hash of a text
/// that was sent before (automatic persisted queries).
#[derive(Debug)]
pub(super) struct Persisted {
    listed: Listed,
    is_automatic: bool,
    /// Those who may send documents that are not on the list.
    ad_hoc: Audience,
}

/// What is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meant<'w> {
    pub digest: Digest,
    /// `None` where only a document that is known already can be meant.
    pub text: Option<&'w str>,
}

impl Persisted {
    pub fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            listed: Listed::read(&options.persisted_documents)?,
            is_automatic: options.automatic_persisted_queries,
            ad_hoc: options.ad_hoc_documents,
        })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub fn automatic() -> Self {
        Self { listed: Listed::default(), is_automatic: true, ad_hoc: Audience::Everybody }
    }

    /// All ids of the list with their documents.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.listed.iter()
    }

    /// What `wanted` means, where `caller` may ask for it.
    pub fn resolve<'w>(
        &'w self,
        wanted: &'w Wanted,
        caller: &Caller,
    ) -> Result<Meant<'w>, Failure> {
        match wanted {
            Wanted::Text(text) => self.sent(text, digest(text), caller),
            Wanted::Named { text, hash } => {
                // The ids of a list need not be hashes.
                if let Some(meant) = self.on_list(hash).filter(|meant| meant.text == Some(text)) {
                    return Ok(meant);
                }
                let digest = digest(text);
                if parse(hash) != Some(digest) {
                    let message = "provided sha does not match query";
                    return Err(Failure::new(Code::PersistedQueryHashMismatch, message));
                }
                self.sent(text, digest, caller)
            }
            Wanted::Id(id) => {
                let hash = id.strip_prefix("sha256:").unwrap_or(id);
                if let Some(meant) = self.on_list(id).or_else(|| self.on_list(hash)) {
                    return Ok(meant);
                }
                if !self.is_automatic {
                    return Err(not_supported());
                }
                let digest = parse(hash).filter(|_| self.ad_hoc.includes(caller));
                digest.map(|digest| Meant { digest, text: None }).ok_or_else(not_found)
            }
        }
    }

    fn on_list(&self, id: &str) -> Option<Meant<'_>> {
        self.listed.get(id).map(|(digest, text)| Meant { digest, text: Some(text) })
    }

    fn sent<'w>(
        &self,
        text: &'w str,
        digest: Digest,
        caller: &Caller,
    ) -> Result<Meant<'w>, Failure> {
        if self.ad_hoc.includes(caller) || self.listed.has(&digest) {
            return Ok(Meant { digest, text: Some(text) });
        }
        let message = "this caller may only ask for documents that are on the list";
        Err(Failure::new(Code::DocumentNotListed, message))
    }
}

/// No document is known by that id. Clients know it by these words, if not by the code.
pub(super) fn not_found() -> Failure {
    Failure::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
}

fn not_supported() -> Failure {
    Failure::new(Code::PersistedQueryNotSupported, "PersistedQueryNotSupported")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;

    fn persisted(is_automatic: bool, ad_hoc: Audience) -> Persisted {
        let listed = Listed::parse(br#"{ "one": "{ a }" }"#).unwrap();
        Persisted { listed, is_automatic, ad_hoc }
    }

    fn text(text: &str) -> Wanted {
        Wanted::Text(text.into())
    }

    fn named(text: &str, hash: &str) -> Wanted {
        Wanted::Named { text: text.into(), hash: hash.into() }
    }

    fn id(id: &str) -> Wanted {
        Wanted::Id(id.into())
    }

    fn hash(text: &str) -> String {
        hex::encode(digest(text))
    }

    #[test]
    fn a_document_is_meant_by_its_text_its_hash_or_its_id() {
        let all = persisted(true, Audience::Everybody);
        let resolve = |wanted: Wanted| {
            let meant = all.resolve(&wanted, &None).map_err(|failure| failure.code)?;
            Ok((meant.digest, meant.text.map(str::to_owned)))
        };
        let sent = |text: &str| Ok((digest(text), Some(text.to_owned())));
        let known = |text: &str| Ok((digest(text), None));
        assert_eq!(resolve(text("{ b }")), sent("{ b }"));
        assert_eq!(resolve(named("{ b }", &hash("{ b }"))), sent("{ b }"));
        assert_eq!(resolve(named("{ b }", &hash("{ b }").to_uppercase())), sent("{ b }"));
        assert_eq!(resolve(named("{ a }", "one")), sent("{ a }"));
        assert_eq!(resolve(id(&hash("{ b }"))), known("{ b }"));
        assert_eq!(resolve(id(&format!("sha256:{}", hash("{ b }")))), known("{ b }"));
        assert_eq!(resolve(id("one")), sent("{ a }"));
        for (text, hash) in [("{ b }", hash("{ c }")), ("{ b }", "one".into()), ("", "".into())] {
            let refused = Err(Code::PersistedQueryHashMismatch);
            assert_eq!(resolve(named(text, &hash)), refused, "{text} {hash}");
        }
        for nonsense in ["", "two", "sha256:", "sha256:12", "zz"] {
            assert_eq!(resolve(id(nonsense)), Err(Code::PersistedQueryNotFound), "{nonsense}");
        }
    }

    #[test]
    fn those_who_may_not_send_their_own_documents_get_the_listed_ones_alone() {
        let customer = Some(Principal::Customer("ana".into()));
        for (audience, is_operator_in) in [(Audience::Operators, true), (Audience::Nobody, false)] {
            let strict = persisted(true, audience);
            for (caller, is_in) in
                [(&None, false), (&customer, false), (&Some(Principal::Operator), is_operator_in)]
            {
                let code = |wanted: Wanted| strict.resolve(&wanted, caller).err().map(|f| f.code);
                for listed in [text("{ a }"), id("one"), named("{ a }", &hash("{ a }"))] {
                    assert_eq!(code(listed), None);
                }
                let or = |code: Code| Some(code).filter(|_| !is_in);
                assert_eq!(code(text("{ b }")), or(Code::DocumentNotListed));
                assert_eq!(code(named("{ b }", &hash("{ b }"))), or(Code::DocumentNotListed));
                assert_eq!(code(id(&hash("{ b }"))), or(Code::PersistedQueryNotFound));
            }
        }
    }

    #[test]
    fn where_nothing_is_kept_for_clients_they_are_told_so() {
        let fixed = persisted(false, Audience::Everybody);
        let unknown = fixed.resolve(&id(&hash("{ b }")), &None).unwrap_err();
        assert_eq!(unknown.code, Code::PersistedQueryNotSupported);
        assert_eq!(unknown.message, "PersistedQueryNotSupported");
        assert!(fixed.resolve(&id("one"), &None).is_ok());
        assert!(fixed.resolve(&named("{ b }", &hash("{ b }")), &None).is_ok());
    }
}
