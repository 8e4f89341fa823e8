//! The relay's own key: one file in the data folder that only the relay's user can read.
//!
//! It is made once and never changed: clients know the relay by it. Knows no configuration; the
//! randomness of a new key is an argument.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use towpath_protocol::{PublicKey, SecretKey};
use towpath_store_embedded::create_dir;

/// The name of the file in the data folder.
pub const FILE_NAME: &str = "relay.key";

/// Why the key cannot be had. Serving under another key would be worse than not serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was accessed.
        path: PathBuf,
        /// What it answered.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{}: not a key; it must hold 64 hexadecimal characters", .0.display())]
    Malformed(PathBuf),
    /// The secret is no secret.
    #[error("{}: other users can read it; make it yours alone with `chmod 600`", .0.display())]
    Exposed(PathBuf),
    /// Two folders that should be one relay's are not.
    #[error("{}: another relay's key; if it is worth nothing, remove it first", .0.display())]
    Another(PathBuf),
    /// The random bytes are none of the possible keys, which no working generator will ever give.
    #[error("the random bytes are not a key")]
    Unusable,
}

/// The relay as a signer of events.
#[derive(Clone, Debug)]
pub struct Identity(SecretKey);

impl Identity {
    /// The key in `folder`, if there is one.
    pub fn load(folder: &Path) -> Result<Option<Self>, Error> {
        Self::at(&folder.join(FILE_NAME))
    }

    /// The key in the file at `path`, if it is there.
    pub fn at(path: &Path) -> Result<Option<Self>, Error> {
        let Some(secret) = read_secret(path)? else { return Ok(None) };
        SecretKey::from_bytes(secret).map(|secret| Some(Self(secret))).ok_or_else(|| Error::Malformed(path.to_owned()))
    }

    /// Makes the key of `seed` and keeps it in `folder`. The caller has seen that there is none; if another process has made one since,
    /// that is the relay's.
    pub fn create(folder: &Path, seed: [u8; 32]) -> Result<Self, Error> {
        let identity = Self(SecretKey::from_bytes(seed).ok_or(Error::Unusable)?);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Io { path, error }
        };
        create_dir(folder).map_err(failed(folder))?;
        let path = folder.join(FILE_NAME);
        // Another process has another key, and so another draft.
        let draft = folder.join(format!("{FILE_NAME}.{}", identity.public_key().to_hex()));
        match write_once(folder, &draft, &path, &encode(&seed)) {
            Ok(()) => Ok(identity),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(folder)?.ok_or_else(|| failed(&path)(error))
            }
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// The key others know the relay by.
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    /// The key the relay signs with.
    pub fn secret(&self) -> &SecretKey {
        &self.0
    }
}

/// Copies the key from one folder to another that has none; nothing if the first has none. Another key in the other is another relay.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let (Some(identity), None) = (Identity::load(from)?, Identity::load(to)?) {
        Identity::create(to, identity.secret().to_bytes())?;
    }
    ensure_one(from, to)
}

/// Fails if two folders hold two keys.
pub(crate) fn ensure_one(one: &Path, other: &Path) -> Result<(), Error> {
    match (Identity::load(one)?, Identity::load(other)?) {
        (Some(key), Some(found)) if key.public_key() != found.public_key() => {
            Err(Error::Another(other.join(FILE_NAME)))
        }
        _ => Ok(()),
    }
}

/// The 32 bytes in a file that nobody else can read, if it is there.
pub(crate) fn read_secret(path: &Path) -> Result<Option<[u8; 32]>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Io { path: path.to_owned(), error }),
    };
    if is_exposed(path)? {
        return Err(Error::Exposed(path.to_owned()));
    }
    decode(text.trim()).map(Some).ok_or_else(|| Error::Malformed(path.to_owned()))
}

/// The file appears complete or not at all, whenever the power fails, and takes the place of no other.
fn write_once(folder: &Path, draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    // What an interrupted attempt left may have any mode.
    remove_if_there(draft)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let kept = match fs::hard_link(draft, path) {
        // A file system without links, on which the slower of two first starts wins.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            fs::rename(draft, path)
        }
        linked => linked,
    };
    remove_if_there(draft)?;
    // Also where another process was sooner, which may have ended before its name was durable.
    File::open(folder)?.sync_all()?;
    kept
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_exposed(path: &Path) -> Result<bool, Error> {
    let metadata = fs::metadata(path).map_err(|error| Error::Io { path: path.to_owned(), error })?;
    Ok(shows(metadata.mode(), metadata.uid() == 0))
}

/// Whether others than those it is meant for can read it. A file that root holds is handed to us by its group, as mounted secrets are.
fn shows(mode: u32, of_root: bool) -> bool {
    mode & if of_root { 0o037 } else { 0o077 } != 0
}

fn encode(bytes: &[u8; 32]) -> String {
    const_hex::encode(bytes) + "\n"
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    // A prefix, which the decoder would take, is none of ours.
    if hex.len() == 64 { const_hex::decode_to_array(hex).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two first starts at one time, each saw no key, and one served under a key that the other had replaced.
    #[test]
    fn the_first_key_in_a_folder_stays_and_is_everybodys() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("towpath").join("data");
        let [first, second] = [1, 2].map(|seed| Identity::create(&folder, [seed; 32]).unwrap());
        assert_eq!(first.public_key(), SecretKey::from_bytes([1; 32]).unwrap().public_key());
        assert_eq!(second.public_key(), first.public_key());
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [FILE_NAME], "no draft stays");
    }

    #[test]
    fn a_key_is_copied_to_a_folder_that_has_none_and_replaces_no_other() {
        let home = tempfile::tempdir().unwrap();
        let [one, other, empty] = ["one", "other", "empty"].map(|name| home.path().join(name));
        let [key, _] = [(&one, 1), (&other, 2)].map(|(folder, seed)| Identity::create(folder, [seed; 32]).unwrap());
        copy(&one, &empty).unwrap();
        assert_eq!(Identity::load(&empty).unwrap().unwrap().public_key(), key.public_key());
        assert!(matches!(copy(&one, &other), Err(Error::Another(_))));
    }

    #[test]
    fn a_key_is_64_hexadecimal_characters_in_either_case_and_nothing_else() {
        assert_eq!(decode(encode(&[0xab; 32]).trim()), Some([0xab; 32]));
        assert_eq!(decode(&"AB".repeat(32)), Some([0xab; 32]));
        for wrong in ["ab".repeat(31), "ab".repeat(33), "xy".repeat(32), format!("0x{}", "ab".repeat(31))] {
            assert_eq!(decode(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_its_owners_alone_or_roots_who_hands_it_to_a_group() {
        for (mode, of_root, shown) in [
            (0o400, false, false),
            (0o600, true, false),
            (0o440, true, false),
            (0o440, false, true),
            (0o460, true, true),
            (0o444, true, true),
        ] {
            assert_eq!(shows(0o100_000 | mode, of_root), shown, "{mode:o} {of_root}");
        }
    }
}
