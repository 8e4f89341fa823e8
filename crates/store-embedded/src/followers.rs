//! How far each follower of the log has come, a small file each.
//!
//! Replaced whole and never synced: a follower that finds an older place does some work again, which it must be able to.
//! Must not know: who follows, or what for.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use towpath_store::{Cursor, Error, Seq};

use crate::log::record::STREAM;

fn path(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Error::io("name a follower", ErrorKind::InvalidInput.into()));
    }
    Ok(dir.join("followers").join(name))
}

/// `None` if it never told. A file that holds no place is one nobody wrote whole: the follower starts anew.
pub(crate) fn load(dir: &Path, name: &str) -> Result<Option<Cursor>, Error> {
    match fs::read_to_string(path(dir, name)?) {
        Ok(text) => Ok(text.trim_end().parse().ok().map(|seq| Cursor::at(STREAM, Seq(seq)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read a follower's place", error)),
    }
}

pub(crate) fn keep(dir: &Path, name: &str, cursor: &Cursor) -> Result<(), Error> {
    let path = path(dir, name)?;
    let write = || {
        fs::create_dir_all(dir.join("followers"))?;
        let fresh = path.with_extension("new");
        fs::write(&fresh, format!("{}\n", cursor.seq(STREAM)))?;
        fs::rename(&fresh, &path)
    };
    write().map_err(|error| Error::io("keep a follower's place", error))
}
