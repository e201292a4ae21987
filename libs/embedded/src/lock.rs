//! Who owns a data directory. The lock is the operating system's: a killed owner leaves none.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::OpenError;

const LOCK_FILE: &str = "fleet.lock";
/// Longest note read from a lock file, in bytes.
const MAX_NOTE: u64 = 4096;

/// What the owner of a data directory says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerInfo {
    /// Its process id.
    pub pid: u32,
    /// Its note, e.g. where its admin listener is; empty if none.
    pub note: String,
}

/// Who has `dir` open now; `None` if nobody has.
pub fn owner(dir: &Path) -> io::Result<Option<OwnerInfo>> {
    let mut file = match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => read_info(&mut file).map(Some),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn read_info(file: &mut File) -> io::Result<OwnerInfo> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_NOTE).read_to_string(&mut text)?;
    let (pid, note) = text.split_once('\n').unwrap_or((&text, ""));
    Ok(OwnerInfo {
        pid: pid.trim().parse().unwrap_or(0),
        note: note.trim_end().to_owned(),
    })
}

/// The lock, held until it is released or dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// `None` once it was released: the file may be somebody else's then.
    file: Mutex<Option<File>>,
}

impl Lock {
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path: PathBuf = dir.join(LOCK_FILE);
        let failed = |e| OpenError::io(&path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let OwnerInfo { pid, note } = read_info(&mut file).map_err(failed)?;
                return Err(OpenError::Owned {
                    dir: dir.to_owned(),
                    pid,
                    note,
                });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let lock = Self {
            file: Mutex::new(Some(file)),
        };
        lock.set_note("").map_err(failed)?;
        Ok(lock)
    }

    /// Writes pid and note. Readers see the old text or the new one, or for an instant less.
    pub(crate) fn set_note(&self, note: &str) -> io::Result<()> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = held.as_mut().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "the directory is closed")
        })?;
        let text = format!("{}\n{}\n", std::process::id(), note.replace('\n', " "));
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }

    /// Gives the directory free.
    pub(crate) fn release(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
