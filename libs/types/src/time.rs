use std::time::Duration;

/// A point in time, UTC, in milliseconds since 1970; written as RFC 3339 with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an RFC 3339 time such as 2025-11-08T12:00:00Z")]
pub struct TimestampError {
    /// What was found, cut to 64 characters.
    pub found: String,
}

impl Timestamp {
    /// The latest time we can write: the end of the year 9998 (the last whole one of our calendar library).
    const MAX_MILLIS: i64 = 253_370_764_799_999;

    /// From milliseconds since 1970, clamped to the years 1970 to 9998.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX_MILLIS))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0 / 1000
    }

    /// Later by `by`, clamped to the year 9998.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(by))
    }

    /// Earlier by `by`, clamped to 1970.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(by))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// RFC 3339, UTC, milliseconds, `Z`. Sorts like the time itself.
    pub fn rfc3339(self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.0).expect("clamped to the years 1970-9998");
        format!("{at:.3}")
    }

    /// Parses RFC 3339 with any offset. Lenient with the `+00:00Z` of older producers.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let error = || TimestampError {
            found: text.chars().take(64).collect(),
        };
        let text = match text.strip_suffix("+00:00Z") {
            Some(head) => format!("{head}Z"),
            None => text.to_owned(),
        };
        let at: jiff::Timestamp = text.parse().map_err(|_| error())?;
        Ok(Self::from_millis(at.as_millisecond()))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.rfc3339())
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.rfc3339())
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_z_and_reads_what_older_producers_wrote() {
        let t = Timestamp::from_millis(1_762_603_200_000);
        assert_eq!(t.rfc3339(), "2025-11-08T12:00:00.000Z");
        for same in [
            "2025-11-08T12:00:00Z",
            "2025-11-08T13:00:00+01:00",
            "2025-11-08T12:00:00+00:00Z",
            "2025-11-08T12:00:00.000Z",
        ] {
            assert_eq!(Timestamp::parse(same), Ok(t), "{same}");
        }
        assert!(Timestamp::parse("yesterday").is_err());
        assert!(Timestamp::parse("2025-11-08T12:00:00").is_err());
    }

    #[test]
    fn arithmetic_saturates() {
        let t = Timestamp::from_millis(5);
        assert_eq!(t.minus(Duration::from_secs(1)).millis(), 0);
        assert_eq!(t.since(t.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(t.plus(Duration::MAX).rfc3339(), "9998-12-31T23:59:59.999Z");
    }
}
