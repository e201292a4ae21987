//! What things are called on the server. Each deployment has its own names, so that several
//! share one server (tests, staging): streams `<DEPLOYMENT>_<NAME>`, subjects
//! `<deployment>.<subject>`. The deployment `default` has the plain names. Outside this crate
//! only plain names are seen.

/// Longest name of a deployment.
const MAX_DEPLOYMENT: usize = 32;

/// The names of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    stream_prefix: String,
    subject_prefix: String,
}

impl Names {
    /// Lower case letters, digits and `-`, at most 32; `default` is the one without prefix.
    pub(crate) fn new(deployment: &str) -> Option<Self> {
        let fits = (1..=MAX_DEPLOYMENT).contains(&deployment.len());
        let grammatical = deployment
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits || !grammatical {
            return None;
        }
        if deployment == "default" {
            return Some(Self {
                stream_prefix: String::new(),
                subject_prefix: String::new(),
            });
        }
        Some(Self {
            stream_prefix: format!("{}_", deployment.to_ascii_uppercase()),
            subject_prefix: format!("{deployment}."),
        })
    }

    /// The name of a stream on the server.
    pub(crate) fn stream(&self, plain: &str) -> String {
        format!("{}{plain}", self.stream_prefix)
    }

    /// A subject (or pattern) on the server.
    pub(crate) fn subject(&self, plain: &str) -> String {
        format!("{}{plain}", self.subject_prefix)
    }

    /// Several subjects on the server.
    pub(crate) fn subjects(&self, plain: &[&str]) -> Vec<String> {
        plain.iter().map(|subject| self.subject(subject)).collect()
    }

    /// The plain subject of one on the server.
    pub(crate) fn plain<'s>(&self, subject: &'s str) -> &'s str {
        subject
            .strip_prefix(&self.subject_prefix)
            .unwrap_or(subject)
    }

    /// Where a consumer's parked messages go, on the server.
    pub(crate) fn parked(&self, stream: &str, consumer: &str) -> String {
        self.subject(&format!("parked.{}.{}", token(stream), token(consumer)))
    }
}

/// Any text as one token of a subject.
fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            token.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = std::fmt::Write::write_fmt(&mut token, format_args!("={byte:02X}"));
        }
    }
    if token.is_empty() {
        "=".to_owned()
    } else {
        token
    }
}

/// Whether events may be published on it: plain tokens, no wildcards.
pub(crate) fn is_subject(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty()
        && text
            .split('.')
            .all(|token| !token.is_empty() && token.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_apart_and_the_default_is_plain() {
        let plain = Names::new("default").unwrap();
        assert_eq!(plain.stream("AGENT_WORK"), "AGENT_WORK");
        assert_eq!(plain.subject("agent.work.>"), "agent.work.>");
        let other = Names::new("t-1").unwrap();
        assert_eq!(other.stream("AGENT_WORK"), "T-1_AGENT_WORK");
        assert_eq!(other.subjects(&["planning.>"]), ["t-1.planning.>"]);
        assert_eq!(
            other.plain("t-1.planning.story.created"),
            "planning.story.created"
        );
        assert_eq!(
            other.parked("A.B", "c*>d e"),
            "t-1.parked.A=2EB.c=2A=3Ed=20e"
        );
        for bad in ["", "Default", "a.b", "a*", "é", &"x".repeat(33)] {
            assert!(Names::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_plain_subjects_are_published_on() {
        assert!(is_subject("planning.story.tasks_not_ready"));
        for bad in [
            "",
            "a..b",
            ".a",
            "a.",
            "a.*",
            "a.>",
            "a b",
            "a.\r\nPUB x",
            "é",
        ] {
            assert!(!is_subject(bad), "{bad}");
        }
    }
}
