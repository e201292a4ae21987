//! Which scope codes each pair of role and phase has, from a strictly read file.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::Role;
use fleet_yaml::{Findings, Node, Report};

use super::versions::short_hash;
use super::{Phase, Scope, yaml};

/// The file that comes with the service.
pub const SHIPPED_SCOPES: &str =
    include_str!("../../../../deploy/k8s/00-foundation/config/prompt_scopes.yaml");

/// The scopes of every pair of role and phase that has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    pairs: BTreeMap<(Role, Phase), BTreeSet<Scope>>,
    version: String,
}

/// The pair has no scopes: the role has no business in the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{role} has no scopes in phase {phase}")]
pub struct NoScopes {
    /// The role.
    pub role: Role,
    /// The phase.
    pub phase: Phase,
}

/// How scopes that somebody holds compare with those of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Nothing is missing and nothing is too much.
    pub allowed: bool,
    /// Scopes of the pair that were not provided, sorted.
    pub missing: Vec<String>,
    /// Provided ones that the pair does not have, sorted; unknown words among them.
    pub extra: Vec<String>,
    /// One sentence for people.
    pub reason: String,
}

impl Scopes {
    /// Reads a file; `file` is its name in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn load(file: &str, text: &str) -> Result<Self, Report> {
        let mut findings = Findings::default();
        let pairs = fleet_yaml::parse(text, &mut findings)
            .map(|root| read(&root, &mut findings))
            .unwrap_or_default();
        findings.into_report(file)?;
        let version = short_hash(&["scopes/1", &canonical(&pairs)]);
        Ok(Self { pairs, version })
    }

    /// The scopes that come with the service.
    pub fn shipped() -> Self {
        Self::load("prompt_scopes.yaml", SHIPPED_SCOPES).expect("a test reads the shipped file")
    }

    /// Changes whenever the content does; layout and comments do not count.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The scopes of a pair.
    ///
    /// # Errors
    /// [`NoScopes`] if the pair is not in the file.
    pub fn of(&self, role: Role, phase: Phase) -> Result<&BTreeSet<Scope>, NoScopes> {
        let found = self.pairs.get(&(role, phase));
        found.ok_or(NoScopes { role, phase })
    }

    /// Every pair with its scopes, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (Role, Phase, &BTreeSet<Scope>)> {
        self.pairs
            .iter()
            .map(|((role, phase), scopes)| (*role, *phase, scopes))
    }

    /// Compares what somebody holds with what the pair has. Codes are compared as written.
    ///
    /// # Errors
    /// [`NoScopes`] if the pair is not in the file.
    pub fn validate<S: AsRef<str>>(
        &self,
        role: Role,
        phase: Phase,
        provided: &[S],
    ) -> Result<Compared, NoScopes> {
        let expected: BTreeSet<&str> = self.of(role, phase)?.iter().map(|s| s.as_str()).collect();
        let provided: BTreeSet<&str> = provided.iter().map(AsRef::as_ref).collect();
        let owned = |codes: Vec<&&str>| codes.into_iter().map(|c| (*c).to_owned()).collect();
        let missing: Vec<String> = owned(expected.difference(&provided).collect());
        let extra: Vec<String> = owned(provided.difference(&expected).collect());
        let mut reasons = Vec::new();
        if !missing.is_empty() {
            reasons.push(format!("missing: {}", missing.join(", ")));
        }
        if !extra.is_empty() {
            reasons.push(format!("not allowed: {}", extra.join(", ")));
        }
        let allowed = reasons.is_empty();
        if allowed {
            reasons.push(format!("exactly the scopes of {role} in {phase}"));
        }
        Ok(Compared {
            allowed,
            missing,
            extra,
            reason: reasons.join("; "),
        })
    }
}

fn canonical(pairs: &BTreeMap<(Role, Phase), BTreeSet<Scope>>) -> String {
    let mut text = String::new();
    for ((role, phase), scopes) in pairs {
        text.push_str(&format!("{role} {phase}:"));
        for scope in scopes {
            text.push_str(&format!(" {scope}"));
        }
        text.push('\n');
    }
    text
}

fn read(root: &Node, findings: &mut Findings) -> BTreeMap<(Role, Phase), BTreeSet<Scope>> {
    let mut pairs = BTreeMap::new();
    let [version, phases] = yaml::parts(root, "the file", ["version", "phases"], findings);
    if let Some(version) = version {
        fleet_yaml::version(version, findings);
    }
    let Some(phases) = phases else { return pairs };
    for (key, roles) in yaml::entries(phases, "phases", findings) {
        let Some(phase) = yaml::word::<Phase>(key.line, &key.text, "phases", findings) else {
            continue;
        };
        let what = format!("phase {phase}");
        for (key, codes) in yaml::entries(roles, &what, findings) {
            let Some(role) = role(key.line, &key.text, &what, findings) else {
                continue;
            };
            let what = format!("{role} in {phase}");
            let mut scopes = BTreeSet::new();
            for (line, code) in yaml::words(codes, &what, findings) {
                scopes.extend(yaml::word::<Scope>(line, code, &what, findings));
            }
            if !scopes.contains(&Scope::CaseHeader) {
                let head = Scope::CaseHeader;
                findings.add(codes.line, format!("{what}: {head} is missing"));
            }
            // Aliases (DOC, DOCS; qa, tester) make one pair of two keys.
            if pairs.insert((role, phase), scopes).is_some() {
                findings.add(key.line, format!("{what} is there twice"));
            }
        }
    }
    pairs
}

/// A role that may stand in our files: everybody but the fleet itself.
pub(super) fn role(line: u64, text: &str, what: &str, findings: &mut Findings) -> Option<Role> {
    match yaml::word::<Role>(line, text, what, findings) {
        Some(Role::System) => {
            let system = Role::System;
            findings.add(line, format!("{what}: {system} asks for no context"));
            None
        }
        role => role,
    }
}
