//! Subjects, versions and ids, and the rules between them.

use std::collections::{BTreeMap, HashMap};

use super::compat::Level;
use super::refusal::Refusal;
use super::schema::Parsed;

const MAX_SCHEMAS: usize = 10_000;
const MAX_TEXTS_BYTES: usize = 64 << 20;
const MAX_SUBJECTS: usize = 10_000;
const MAX_VERSIONS: usize = 1_000;

/// A version as a request names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    Latest,
    Number(u32),
}

/// A schema's place in a subject.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    pub subject: String,
    pub version: u32,
    pub id: u32,
}

struct Version {
    id: u32,
    deleted: bool,
}

pub(super) struct State {
    /// Id 1 is at 0.
    schemas: Vec<Parsed>,
    by_canonical: HashMap<String, u32>,
    texts_bytes: usize,
    /// Every subject has at least one version, deleted or not.
    subjects: BTreeMap<String, BTreeMap<u32, Version>>,
    global: Level,
    levels: BTreeMap<String, Level>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schemas: Vec::new(),
            by_canonical: HashMap::new(),
            texts_bytes: 0,
            subjects: BTreeMap::new(),
            global: Level::FullTransitive,
            levels: BTreeMap::new(),
        }
    }
}

impl State {
    pub fn text(&self, id: u32) -> Option<&str> {
        self.parsed(id).map(|parsed| parsed.text.as_str())
    }

    fn parsed(&self, id: u32) -> Option<&Parsed> {
        self.schemas.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    pub fn subjects(&self, prefix: &str, deleted: bool) -> Vec<String> {
        let seen = |versions: &BTreeMap<u32, Version>| {
            deleted || versions.values().any(|version| !version.deleted)
        };
        let all = self.subjects.iter();
        all.filter(|(name, versions)| name.starts_with(prefix) && seen(versions))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Versions of a subject, oldest first; at least one.
    pub fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<u32>, Refusal> {
        let versions: Vec<_> = self.live(subject, deleted).map(|(number, _)| number).collect();
        if versions.is_empty() { Err(Refusal::no_subject(subject)) } else { Ok(versions) }
    }

    fn live(&self, subject: &str, deleted: bool) -> impl DoubleEndedIterator<Item = (u32, u32)> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        versions.filter(move |(_, v)| deleted || !v.deleted).map(|(number, v)| (*number, v.id))
    }

    pub fn place(&self, subject: &str, wanted: Wanted, deleted: bool) -> Result<Place, Refusal> {
        self.versions(subject, deleted)?;
        let mut live = self.live(subject, deleted);
        let found = match wanted {
            Wanted::Latest => live.next_back(),
            Wanted::Number(number) => live.find(|(n, _)| *n == number),
        };
        let number = match wanted {
            Wanted::Latest => 0,
            Wanted::Number(number) => number,
        };
        let (version, id) = found.ok_or_else(|| Refusal::no_version(number))?;
        Ok(Place { subject: subject.to_owned(), version, id })
    }

    /// Where a schema stands in a subject; the latest place, when it is there more than once.
    pub fn lookup(&self, subject: &str, new: &Parsed, deleted: bool) -> Result<Place, Refusal> {
        self.versions(subject, deleted)?;
        let id = self.by_canonical.get(&new.canonical).copied();
        let (version, id) = self
            .live(subject, deleted)
            .rfind(|(_, version_id)| Some(*version_id) == id)
            .ok_or_else(Refusal::no_schema)?;
        Ok(Place { subject: subject.to_owned(), version, id })
    }

    /// Every place of an id.
    pub fn places(&self, id: u32) -> Result<Vec<Place>, Refusal> {
        self.parsed(id).ok_or_else(Refusal::no_schema)?;
        let places = self.subjects.keys().flat_map(|subject| {
            let here = self.live(subject, false).filter(move |(_, found)| *found == id);
            here.map(|(version, id)| Place { subject: subject.clone(), version, id })
        });
        Ok(places.collect())
    }

    /// The id of the schema, which is in the subject afterwards.
    pub fn register(&mut self, subject: &str, new: Parsed) -> Result<u32, Refusal> {
        if let Ok(place) = self.lookup(subject, &new, false) {
            return Ok(place.id);
        }
        let problems = self.problems(subject, None, &new)?;
        if !problems.is_empty() {
            let details = problems.join("; ");
            return Err(Refusal::new(
                409,
                format!("Schema is incompatible with subject \"{subject}\": {details}"),
            ));
        }
        let versions = self.subjects.get(subject);
        if versions.is_none() && self.subjects.len() >= MAX_SUBJECTS {
            return Err(Refusal::full("subjects"));
        }
        if versions.is_some_and(|versions| versions.len() >= MAX_VERSIONS) {
            return Err(Refusal::full("versions of this subject"));
        }
        let id = self.id_of(new)?;
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        let number = versions.last_key_value().map_or(1, |(number, _)| number + 1);
        versions.insert(number, Version { id, deleted: false });
        Ok(id)
    }

    fn id_of(&mut self, new: Parsed) -> Result<u32, Refusal> {
        if let Some(id) = self.by_canonical.get(&new.canonical) {
            return Ok(*id);
        }
        let bytes = self.texts_bytes + new.text.len();
        if self.schemas.len() >= MAX_SCHEMAS || bytes > MAX_TEXTS_BYTES {
            return Err(Refusal::full("schemas"));
        }
        self.texts_bytes = bytes;
        let id = u32::try_from(self.schemas.len() + 1).expect("bounded by MAX_SCHEMAS");
        self.by_canonical.insert(new.canonical.clone(), id);
        self.schemas.push(new);
        Ok(id)
    }

    /// Why a schema may not stand beside one version, or (`None`) beside those that the
    /// subject's level names. A subject without versions takes any schema.
    pub fn problems(
        &self,
        subject: &str,
        beside: Option<Wanted>,
        new: &Parsed,
    ) -> Result<Vec<String>, Refusal> {
        let level = self.level(subject).unwrap_or(self.global);
        let others: Vec<(u32, u32)> = match beside {
            None if level.is_transitive() => self.live(subject, false).collect(),
            None | Some(Wanted::Latest) => {
                self.live(subject, false).next_back().into_iter().collect()
            }
            Some(number) => {
                let place = self.place(subject, number, false)?;
                vec![(place.version, place.id)]
            }
        };
        let problems = others.into_iter().flat_map(|(version, id)| {
            let old = self.parsed(id).expect("versions name ids that exist; ids are never removed");
            level.problems(new, old, version)
        });
        Ok(problems.collect())
    }

    pub fn global_level(&self) -> Level {
        self.global
    }

    pub fn set_global_level(&mut self, level: Level) {
        self.global = level;
    }

    pub fn level(&self, subject: &str) -> Option<Level> {
        self.levels.get(subject).copied()
    }

    pub fn set_level(&mut self, subject: &str, level: Level) -> Result<(), Refusal> {
        if self.levels.len() >= MAX_SUBJECTS && !self.levels.contains_key(subject) {
            return Err(Refusal::full("subject levels"));
        }
        self.levels.insert(subject.to_owned(), level);
        Ok(())
    }

    /// The level that was removed.
    pub fn remove_level(&mut self, subject: &str) -> Result<Level, Refusal> {
        self.levels.remove(subject).ok_or_else(|| Refusal::no_subject(subject))
    }

    /// Deletes all versions and tells them. Permanent deletion comes after a soft one.
    pub fn delete_subject(&mut self, subject: &str, permanent: bool) -> Result<Vec<u32>, Refusal> {
        let all = self.versions(subject, true)?;
        let live: Vec<_> = self.live(subject, false).map(|(number, _)| number).collect();
        match (permanent, live.is_empty()) {
            (true, false) => Err(Refusal::new(
                40405,
                format!("Subject '{subject}' must be deleted softly before it goes for good"),
            )),
            (true, true) => {
                self.subjects.remove(subject);
                self.levels.remove(subject);
                Ok(all)
            }
            (false, true) => Err(Refusal::new(
                40404,
                format!("Subject '{subject}' is deleted softly; permanent=true removes it"),
            )),
            (false, false) => {
                let versions = self.subjects.get_mut(subject).into_iter().flatten();
                versions.for_each(|(_, version)| version.deleted = true);
                Ok(live)
            }
        }
    }

    /// Deletes one version and tells its number.
    pub fn delete_version(
        &mut self,
        subject: &str,
        wanted: Wanted,
        permanent: bool,
    ) -> Result<u32, Refusal> {
        let number = self.place(subject, wanted, true)?.version;
        let versions = self.subjects.get_mut(subject).expect("the subject has a place");
        let version = versions.get_mut(&number).expect("the place has a version");
        match (permanent, version.deleted) {
            (true, false) => Err(Refusal::new(
                40407,
                format!("Version {number} must be deleted softly before it goes for good"),
            )),
            (true, true) => {
                versions.remove(&number);
                if versions.is_empty() {
                    self.subjects.remove(subject);
                }
                Ok(number)
            }
            (false, true) => Err(Refusal::new(
                40406,
                format!("Version {number} is deleted softly; permanent=true removes it"),
            )),
            (false, false) => {
                version.deleted = true;
                Ok(number)
            }
        }
    }
}
