//! The relay's own key: one file in the data folder that only the relay's user can read.
//!
//! It is made once and never changed: clients know the relay by it. Knows no configuration; the
//! randomness of a new key is an argument.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use towpath_protocol::{PublicKey, SecretKey};

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

    /// Makes the key of `seed` and keeps it in `folder`. The caller has seen that there is none.
    pub fn create(folder: &Path, seed: [u8; 32]) -> Result<Self, Error> {
        let identity = Self(SecretKey::from_bytes(seed).ok_or(Error::Unusable)?);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Io { path, error }
        };
        make_private_folder(folder).map_err(failed(folder))?;
        let path = folder.join(FILE_NAME);
        write_durably(folder, &path, &encode(&seed)).map_err(failed(&path))?;
        Ok(identity)
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
    ensure_one(from, to)?;
    match (Identity::load(from)?, Identity::load(to)?) {
        (Some(identity), None) => Identity::create(to, identity.secret().to_bytes()).map(drop),
        _ => Ok(()),
    }
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

/// The file appears complete or not at all, whenever the power fails.
fn write_durably(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("key.new");
    // What an interrupted attempt left may have any mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn is_exposed(path: &Path) -> Result<bool, Error> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|error| Error::Io { path: path.to_owned(), error })?;
    Ok(shows(metadata.mode(), metadata.uid() == 0))
}

/// Whether others than those it is meant for can read it. A file that root holds is handed to us by its group, as mounted secrets are.
#[cfg(unix)]
fn shows(mode: u32, of_root: bool) -> bool {
    mode & if of_root { 0o037 } else { 0o077 } != 0
}

#[cfg(not(unix))]
fn is_exposed(_path: &Path) -> Result<bool, Error> {
    Ok(false)
}

fn encode(bytes: &[u8; 32]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex + "\n"
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::shows;

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
