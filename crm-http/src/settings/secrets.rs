//! Secrets that nobody gave: generated once, kept in the data folder for this user alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use crm_core::{port::Random, secret::Secret};
use serde::{Deserialize, Serialize};

/// The file of generated secrets in the data folder.
pub(crate) const FILE: &str = "secrets.json";
/// The shortest secret that is taken, in bytes.
pub(crate) const SHORTEST: usize = 32;
/// Parts of the secrets that manuals and samples show.
const PLACEHOLDERS: &[&str] = &[
    "your-",
    "your_",
    "yoursecret",
    "change-me",
    "changeme",
    "change_me",
    "change-this",
    "replace",
    "example",
    "placeholder",
    "default",
    "supersecret",
    "super-secret",
    "super_secret",
    "my-secret",
    "mysecret",
    "my_secret",
    "secret-key",
    "secretkey",
    "secret_key",
    "jwt-secret",
    "jwt_secret",
    "jwtsecret",
    "password",
    "12345678",
    "todo",
    "xxxx",
    "<",
    ">",
];

/// The generated secrets.
#[derive(Deserialize, Serialize)]
struct Stored {
    jwt_secret: String,
    encryption_key: String,
}

/// Secrets that hold until the file is removed.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) jwt_secret: Secret<String>,
    pub(crate) encryption_key: Secret<String>,
}

/// Whether a secret is one of those that everybody knows, or has too little in it to be one.
pub(crate) fn is_weak(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let mut distinct: Vec<u8> = secret.bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() < 10 || PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder))
}

/// The secrets of the data folder; generated and kept where there are none yet.
///
/// # Errors
/// A sentence where the folder cannot be written or the file not be read.
pub(crate) fn of_folder(folder: &Path, random: &dyn Random) -> Result<Generated, String> {
    let path = folder.join(FILE);
    let sentence = |doing: &str, error: &io::Error| format!("{} cannot be {doing}: {error}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => return parse(&path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(sentence("read", &error)),
    }
    create_folder(folder)?;
    let stored = Stored { jwt_secret: new_secret(random), encryption_key: new_secret(random) };
    let text = serde_json::to_string_pretty(&stored).map_err(|error| error.to_string())?;
    // Written whole under another name first, then linked: of two processes that start at once the first wins, and
    // nobody ever reads half a file.
    let draft = folder.join(format!(".{FILE}.{}", new_secret(random).get(..12).unwrap_or_default()));
    write_private(&draft, text.as_bytes()).map_err(|error| sentence("written", &error))?;
    let linked = fs::hard_link(&draft, &path);
    let removed = fs::remove_file(&draft);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(sentence("written", &error)),
    }
    removed.map_err(|error| sentence("written", &error))?;
    let text = fs::read_to_string(&path).map_err(|error| sentence("read", &error))?;
    parse(&path, &text)
}

/// Makes the data folder, for this user alone.
///
/// # Errors
/// A sentence where that cannot be.
pub(crate) fn create_folder(folder: &Path) -> Result<(), String> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        format!("the folder {} cannot be made ({error}); set DATA_DIR to one that can be written", folder.display())
    })
}

fn parse(path: &Path, text: &str) -> Result<Generated, String> {
    let stored: Stored = serde_json::from_str(text)
        .map_err(|_| format!("{} is damaged: restore it, or remove it to end every session", path.display()))?;
    Ok(Generated { jwt_secret: Secret::new(stored.jwt_secret), encryption_key: Secret::new(stored.encryption_key) })
}

fn new_secret(random: &dyn Random) -> String {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use crm_core::port::OperatingSystemRandom;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("crm-data");
        let first = of_folder(&data, &OperatingSystemRandom).unwrap();
        let second = of_folder(&data, &OperatingSystemRandom).unwrap();
        assert_eq!(first.jwt_secret.expose(), second.jwt_secret.expose());
        assert_ne!(first.jwt_secret.expose(), first.encryption_key.expose());
        assert!(first.jwt_secret.expose().len() >= SHORTEST && !is_weak(first.jwt_secret.expose()));
        assert!(!format!("{first:?}").contains(first.jwt_secret.expose()));
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(data.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn damage_is_told_and_nothing_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(of_folder(folder.path(), &OperatingSystemRandom).unwrap_err().contains("damaged"));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "{");
        let not_a_folder = folder.path().join(FILE).join("below");
        assert!(of_folder(&not_a_folder, &OperatingSystemRandom).is_err());
    }

    #[test]
    fn samples_are_weak() {
        for secret in [
            "your-jwt-secret-your-jwt-secret-your",
            "your_super_secret_jwt_key_at_least_32_chars",
            "CHANGE-ME-CHANGE-ME-CHANGE-ME-CHANGE",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "<paste the output of openssl rand here>",
        ] {
            assert!(is_weak(secret), "{secret}");
        }
        assert!(!is_weak("Vt0mOq3r1n9jKcB7xW5hZsYdLg2fUeAi"));
    }
}
