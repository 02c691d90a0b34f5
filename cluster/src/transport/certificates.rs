//! Makes a small authority and certificates of nodes, for clusters that have no authority of their own.
//!
//! The files of one folder: `ca.pem`, `ca.key`, and for node 7 `node-7.pem` and `node-7.key`. Keys can be read by their
//! owner alone. Nothing is ever overwritten. `ca.key` belongs on no node: whoever has it can be any node.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::tls::node_name;
use crate::config::TlsFiles;
use crate::transport::NodeId;

const AUTHORITY_DAYS: i64 = 3_650;
const NODE_DAYS: i64 = 730;
/// A certificate is valid from a day ago, for nodes whose clocks are behind.
const BACKDATED: Duration = Duration::DAY;
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is there already.
    #[error("{0} exists and is not overwritten")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// An address is no IP address or DNS name, or the authority's files are damaged.
    #[error("certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes an authority in a folder, which is made when missing.
pub fn make_authority(dir: &Path) -> Result<(), CertificateError> {
    fs::create_dir_all(dir).map_err(|error| CertificateError::File(dir.to_owned(), error))?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("kaiwa cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, AUTHORITY_DAYS);
    let certificate = params.self_signed(&key)?;
    write_pair(&dir.join("ca.pem"), &certificate.pem(), &dir.join("ca.key"), &key)
}

/// Makes the certificate of a node with the authority of the same folder. `addresses`, IP or DNS, are for people and other
/// tools: links go by the node's name alone.
pub fn issue_node(dir: &Path, node: NodeId, addresses: &[String]) -> Result<TlsFiles, CertificateError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|error| CertificateError::File(path, error))
    };
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem")?, KeyPair::from_pem(&read("ca.key")?)?)?;
    let name = node_name(node);
    let mut names = vec![name.clone()];
    names.extend_from_slice(addresses);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name(&name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, NODE_DAYS);
    let certificate = params.signed_by(&key, &issuer)?;
    let files = TlsFiles {
        authority: dir.join("ca.pem"),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    };
    write_pair(&files.certificate, &certificate.pem(), &files.key, &key)?;
    Ok(files)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(days);
}

/// Writes both or neither.
fn write_pair(certificate: &Path, pem: &str, key: &Path, pair: &KeyPair) -> Result<(), CertificateError> {
    if certificate.exists() {
        return Err(CertificateError::Exists(certificate.to_owned()));
    }
    write_new(key, &pair.serialize_pem(), KEY_MODE)?;
    write_new(certificate, pem, CERTIFICATE_MODE).inspect_err(|_| {
        // This call made it, and it belongs to no certificate.
        let _ = fs::remove_file(key);
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CertificateError::Exists(path.to_owned()),
        _ => CertificateError::File(path.to_owned(), error),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("certs");
        make_authority(&dir).unwrap();
        let files = issue_node(&dir, NodeId(7), &["127.0.0.1".into(), "seven.example".into()]).unwrap();
        assert_eq!(files.certificate, dir.join("node-7.pem"));
        for name in ["ca.key", "node-7.key"] {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, KEY_MODE, "{name}");
        }
        let all = || ["ca.pem", "ca.key", "node-7.pem", "node-7.key"].map(|name| fs::read(dir.join(name)).unwrap());
        let before = all();
        assert!(matches!(make_authority(&dir), Err(CertificateError::Exists(_))));
        assert!(matches!(
            issue_node(&dir, NodeId(7), &[]),
            Err(CertificateError::Exists(_))
        ));
        assert_eq!(all(), before);
        // One file of the pair alone stops it as well, and leaves nothing new behind.
        fs::remove_file(&files.certificate).unwrap();
        assert!(matches!(
            issue_node(&dir, NodeId(7), &[]),
            Err(CertificateError::Exists(_))
        ));
        assert!(!files.certificate.exists());
        fs::remove_file(&files.key).unwrap();
        fs::create_dir(&files.certificate).unwrap();
        assert!(matches!(
            issue_node(&dir, NodeId(7), &[]),
            Err(CertificateError::Exists(_))
        ));
        assert!(!files.key.exists());
    }

    #[test]
    fn no_authority_and_bad_addresses_are_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            matches!(issue_node(folder.path(), NodeId(1), &[]), Err(CertificateError::File(path, _)) if path.ends_with("ca.pem"))
        );
        make_authority(folder.path()).unwrap();
        assert!(matches!(
            issue_node(folder.path(), NodeId(1), &["no\u{e9}".into()]),
            Err(CertificateError::Make(_))
        ));
    }
}
