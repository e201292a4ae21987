//! How much the rules look at: counted in the tests of this crate, free everywhere else.
//!
//! No text may make the rules look at the same bytes again and again. Time says little about
//! that on a busy machine; the number of bytes looked at says it exactly.

/// A rule looks at so many bytes. Those of the automaton do not count: it reads a text once.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn looked(_bytes: usize) {}

#[cfg(test)]
pub(crate) use tests::looked;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::{collection::vec, prelude::*, sample::select};

    use crate::scan;

    thread_local! {
        static LOOKED: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn looked(bytes: usize) {
        LOOKED.set(LOOKED.get() + bytes);
    }

    const HOSTILE: &[&str] = &include!("../tests/corpus/hostile.in");

    /// What the rules are called for, what makes them go on, and what makes them stop.
    const TRIGGERS: &[&str] = &include!("../tests/corpus/triggers.in");

    /// Units, and what stands behind the last of them.
    const ENDED: &[(&str, &str)] = &[
        ("eyJ-", ". "),
        ("eyJ-", ".a"),
        ("eyJ-", ".eyJ.a "),
        (":password>", "</"),
        (":password>env:", "</"),
        ("cookie%3D", "=v"),
        ("acookie=", ";b=c;d=e"),
        ("password:abc;", " "),
        ("token: [\"a\", ", "\"]"),
    ];

    /// So many bytes may be looked at for each byte of the text in one pass: most rules judge
    /// by a sample, and the units that call for them are as short as six bytes.
    const MOST: usize = 300;

    /// Long enough for a unit that is looked at to the end of the text to stand out.
    const LEN: usize = 1 << 15;

    /// Bytes looked at for each byte of the text, in one pass over it.
    fn effort(text: &str) -> usize {
        LOOKED.set(0);
        scan::edits(text);
        LOOKED.get() / text.len().max(1)
    }

    fn filled(unit: &str, len: usize) -> String {
        unit.repeat((len / unit.len()).max(1))
    }

    #[test]
    fn a_hostile_text_is_not_looked_at_again_and_again() {
        let mut failures = Vec::new();
        for unit in HOSTILE {
            let effort = effort(&filled(unit, LEN));
            if effort > MOST {
                failures.push(format!("{effort:>6} {unit:?}"));
            }
        }
        for (unit, end) in ENDED {
            let effort = effort(&(filled(unit, LEN) + end));
            if effort > MOST {
                failures.push(format!("{effort:>6} {unit:?} and {end:?}"));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn no_mixture_of_triggers_is_looked_at_again_and_again(
            parts in vec(prop_oneof![3 => select(TRIGGERS), 1 => select(HOSTILE)], 1..5),
            rest in vec(prop_oneof![3 => select(TRIGGERS), 1 => select(HOSTILE)], 0..3),
        ) {
            // What calls for a rule, and then what the rule may go through every time.
            let mut text = filled(&parts.concat(), LEN / 2);
            if !rest.is_empty() {
                text += &filled(&rest.concat(), LEN / 2);
            }
            let effort = effort(&text);
            prop_assert!(effort <= MOST, "{effort} for each byte of {parts:?} and {rest:?}");
        }
    }
}
