//! Secrets that nobody gave.

use crate::support::{Engine, Place, Server};

/// With no settings, everything is in `./crm-data`, and nobody else can read the secrets.
#[cfg(unix)]
#[tokio::test]
async fn secrets_are_generated_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new(Engine::Sqlite);
    let read = || {
        let data = place.folder().join("crm-data");
        let mut files: Vec<(String, u32, Vec<u8>)> = std::fs::read_dir(&data)
            .expect("the folder is there")
            .filter_map(|entry| {
                let entry = entry.expect("readable");
                let name = entry.file_name().to_string_lossy().into_owned();
                let secret = name.contains("secret");
                secret.then(|| {
                    let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
                    (name, mode, std::fs::read(entry.path()).expect("readable by us"))
                })
            })
            .collect();
        files.sort();
        files
    };
    drop(Server::start(&place).await);
    let first = read();
    assert!(!first.is_empty(), "the secrets are in a file of their own");
    assert!(first.iter().all(|(_, mode, _)| *mode == 0o600), "{first:?}");
    let server = Server::start(&place).await;
    assert_eq!(read(), first, "the same after a restart");
    for (_, _, content) in &first {
        let text = String::from_utf8_lossy(content);
        let secrets =
            text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c)).filter(|word| word.len() >= 32);
        for secret in secrets {
            assert!(!server.printed().contains(secret), "a secret was printed");
        }
    }
}
