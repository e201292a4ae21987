//! How far writes were acknowledged, kept beside the database.
//!
//! SQLite drops everything behind the first damaged frame of its log, acknowledged or not.
//! This file is written after every commit and before its answer, so at the next start the
//! database must reach at least as far. It is never synced: after a power loss it may be
//! older than the database, never newer.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::checksum::Sum;

pub(crate) const WITNESS_FILE: &str = "fleet.ack";
const MAGIC: u64 = u64::from_le_bytes(*b"FLEETACK");
/// Two slots in different sectors, written in turn: a torn write spoils one of them.
const SLOT_AT: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 32;

/// What the database was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Serving.
    Running,
    /// Moving pages from the log to the main file: until that is done the main file alone is
    /// no database.
    Backfilling,
    /// Closed; all pages are in the main file.
    Clean,
}

impl State {
    fn code(self) -> u32 {
        match self {
            Self::Running => 1,
            Self::Backfilling => 2,
            Self::Clean => 3,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Running, Self::Backfilling, Self::Clean]
            .into_iter()
            .find(|s| s.code() == code)
    }
}

/// What is known of the acknowledged past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The last commit that may have been acknowledged.
    pub(crate) seq: u64,
    pub(crate) state: State,
    /// Counts the writes of this file.
    turn: u32,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    file: File,
    turn: u32,
}

impl Witness {
    /// Opens or creates the file and gives its newest readable record.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, Option<Record>)> {
        let path = dir.join(WITNESS_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut newest: Option<Record> = None;
        for at in SLOT_AT {
            let mut slot = [0; SLOT_BYTES];
            file.seek(SeekFrom::Start(at))?;
            match file.read_exact(&mut slot) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(e) => return Err(e),
            }
            let record = decode(&slot);
            if let Some(record) = record
                && newest.is_none_or(|best| (record.seq, record.turn) > (best.seq, best.turn))
            {
                newest = Some(record);
            }
        }
        let turn = newest.map_or(0, |record| record.turn);
        Ok((Self { path, file, turn }, newest))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Remembers that everything up to `seq` may be acknowledged.
    pub(crate) fn record(&mut self, seq: u64, state: State) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        let slot = encode(Record {
            seq,
            state,
            turn: self.turn,
        });
        self.file
            .seek(SeekFrom::Start(SLOT_AT[(self.turn % 2) as usize]))?;
        self.file.write_all(&slot)
    }

    /// Makes the file itself durable (when it is new, and at a clean stop).
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn encode(record: Record) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC.to_le_bytes());
    slot[8..16].copy_from_slice(&record.seq.to_le_bytes());
    slot[16..20].copy_from_slice(&record.state.code().to_le_bytes());
    slot[20..24].copy_from_slice(&record.turn.to_le_bytes());
    let sum = Sum::new().bytes(&slot[..24]).done();
    slot[24..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Record> {
    let word = |at: usize| {
        u64::from_le_bytes(slot[at..at + 8].try_into().expect("a slice of eight bytes"))
    };
    let half =
        |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().expect("a slice of four bytes"));
    let sum = Sum::new().bytes(&slot[..24]).done();
    if word(0) != MAGIC || word(24) != sum.cast_unsigned() {
        return None;
    }
    Some(Record {
        seq: word(8),
        state: State::from_code(half(16))?,
        turn: half(20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut witness, none) = Witness::open(dir.path()).unwrap();
        assert_eq!(none, None);
        for seq in 1..=3 {
            witness.record(seq, State::Running).unwrap();
        }
        let (_, last) = Witness::open(dir.path()).unwrap();
        assert_eq!(last.map(|r| r.seq), Some(3));
        // Spoil the slot of the last write: the one before is left.
        let path = dir.path().join(WITNESS_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let slot = SLOT_AT[3 % 2] as usize;
        bytes[slot + 9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (_, last) = Witness::open(dir.path()).unwrap();
        assert_eq!(last.map(|r| r.seq), Some(2));
    }
}
