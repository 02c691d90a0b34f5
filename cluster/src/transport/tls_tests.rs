//! Mutual TLS between transports, and what must not pass.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificates::{issue_node, make_authority};
use super::connection::{ConnectError, Identity, LinkTimes, accept, dial};
use super::frame::{FrameReader, FrameType, Hello, PURPOSE_PROBE};
use super::sockets::SystemSockets;
use super::tcp::{StartError, TcpTransport};
use super::tcp_tests::{ECHO, ONE, PATIENCE, Recorder, TWO, connected, event, loopback, peer, start, up};
use super::tls::{TlsContext, TlsError};
use crate::config::TlsFiles;
use crate::transport::{CallError, LinkEvent, NodeId, Purpose, Transport};

const THREE: NodeId = NodeId(3);

fn authority() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    make_authority(dir.path()).unwrap();
    dir
}

fn files(dir: &TempDir, node: NodeId) -> TlsFiles {
    issue_node(dir.path(), node, &["127.0.0.1".into()]).unwrap()
}

fn identity(node: NodeId, tls: Option<TlsContext>) -> Identity {
    Identity::new(node, 1, tls, Arc::new(SystemSockets))
}

fn unreachable<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Unreachable(_, why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_of_one_authority_talk() {
    let dir = authority();
    let (one, _) = start(ONE, Some(&files(&dir, ONE)));
    let (two, handler) = start(TWO, Some(&files(&dir, TWO)));
    connected(&one, &two).await;
    let body = Bytes::from(vec![3; 3 << 20]);
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, body.clone(), PATIENCE)
            .await
            .unwrap(),
        body
    );
    assert_eq!(one.probe(TWO).await, Ok(200));
    assert_eq!(handler.came.lock()[0].0.node, ONE);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let days = (one.not_after_unix().unwrap() - now) / 86_400;
    assert!((728..=730).contains(&days), "{days}");
    let mut events = one.watch();
    two.stop().await;
    let ended = event(&mut events, |event| matches!(event, LinkEvent::Down { .. })).await;
    assert!(matches!(ended, LinkEvent::Down { goodbye: true, .. }));
}

#[tokio::test]
async fn another_authority_is_refused_in_both_directions() {
    let (ours, theirs) = (authority(), authority());
    let (one, handler_of_one) = start(ONE, Some(&files(&ours, ONE)));
    let (two, handler_of_two) = start(TWO, Some(&files(&theirs, TWO)));
    one.set_peers(peer(TWO, two.local_addr()));
    two.set_peers(peer(ONE, one.local_addr()));
    assert!(unreachable(one.probe(TWO).await).contains("certificate"));
    assert!(unreachable(two.probe(ONE).await).contains("certificate"));
    // One that believes our authority, but shows a certificate of its own.
    let mut mixed = files(&theirs, THREE);
    mixed.authority = ours.path().join("ca.pem");
    let (three, _) = start(THREE, Some(&mixed));
    three.set_peers(peer(ONE, one.local_addr()));
    let why = unreachable(three.probe(ONE).await);
    assert!(why.contains("alert") || why.contains("hello"), "{why}");
    assert!(handler_of_one.came.lock().is_empty() && handler_of_two.came.lock().is_empty());
}

#[tokio::test]
async fn the_certificate_of_one_node_does_not_pass_for_another() {
    let dir = authority();
    let (one, _) = start(ONE, Some(&files(&dir, ONE)));
    let of_two = files(&dir, TWO);
    let started = TcpTransport::start(THREE, loopback(), Some(&of_two), 1, Arc::new(Recorder::default()));
    assert!(matches!(started.err(), Some(StartError::Tls(TlsError::Name { .. }))));

    // A process that does not check itself, as the dialler: it shows node 2's certificate and says that it is node 3.
    let liar = identity(THREE, Some(TlsContext::load(TWO, &of_two).unwrap()));
    let times = LinkTimes::default();
    let dialled = dial(&liar, &times, ONE, one.local_addr(), PURPOSE_PROBE).await;
    let Err(ConnectError::Refused(why)) = dialled.map(|_| ()) else {
        panic!("not refused")
    };
    assert!(why.contains("node-2") && why.contains("node-3"), "{why}");

    // And as the dialled.
    let listener = TcpListener::bind(loopback()).await.unwrap();
    one.set_peers(peer(THREE, listener.local_addr().unwrap()));
    let accepting = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        accept(&liar, &times, Box::new(tcp)).await.map(|_| ())
    });
    assert!(matches!(accepting.await.unwrap(), Err(ConnectError::Tls(_))));
    assert!(matches!(
        one.send(THREE, Purpose::Raft, 7, Bytes::new()),
        Err(CallError::Unreachable(..))
    ));
}

#[tokio::test]
async fn plain_text_and_tls_do_not_meet() {
    let dir = authority();
    let (plain, handler_of_plain) = start(ONE, None);
    let (secure, handler_of_secure) = start(TWO, Some(&files(&dir, TWO)));
    plain.set_peers(peer(TWO, secure.local_addr()));
    secure.set_peers(peer(ONE, plain.local_addr()));
    unreachable(plain.probe(TWO).await);
    unreachable(secure.probe(ONE).await);
    // What a plain stranger gets to read is no hello.
    let mut tcp = TcpStream::connect(secure.local_addr()).await.unwrap();
    let hello = Hello {
        cluster: None,
        node: 1,
        incarnation: 1,
        purpose: 0,
    }
    .to_frame()
    .to_bytes();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, &hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut answer))
        .await
        .expect("it is closed");
    assert!(!answer.windows(8).any(|bytes| bytes == b"kaiwalnk"));
    assert!(handler_of_plain.came.lock().is_empty() && handler_of_secure.came.lock().is_empty());
}

/// Connects with a configuration of the test's own, says hello as node 2, and tells whether it was greeted.
async fn greeted(to: &TcpTransport, dir: &Path, versions: &[&'static SupportedProtocolVersion], show: bool) -> bool {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = if show {
        let chain = vec![CertificateDer::from_pem_file(dir.join("node-2.pem")).unwrap()];
        config
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(dir.join("node-2.key")).unwrap())
            .unwrap()
    } else {
        config.with_no_client_auth()
    };
    let tcp = TcpStream::connect(to.local_addr()).await.unwrap();
    let name = ServerName::try_from("node-1").unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, tcp).await else {
        return false;
    };
    let hello = Hello {
        cluster: None,
        node: 2,
        incarnation: 1,
        purpose: PURPOSE_PROBE,
    }
    .to_frame()
    .to_bytes();
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await;
    let answer = timeout(PATIENCE, FrameReader::new(stream).read_frame())
        .await
        .expect("an answer or an end");
    matches!(answer, Ok(Some(frame)) if frame.frame_type == FrameType::Hello)
}

#[tokio::test]
async fn a_certificate_and_tls_1_3_are_demanded() {
    let dir = authority();
    let (one, _) = start(ONE, Some(&files(&dir, ONE)));
    files(&dir, TWO);
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    assert!(greeted(&one, dir.path(), &[tls13], true).await);
    assert!(!greeted(&one, dir.path(), &[tls13], false).await, "no certificate");
    assert!(!greeted(&one, dir.path(), &[tls12], true).await, "TLS 1.2");
}

#[tokio::test]
async fn a_reload_counts_for_new_handshakes_and_a_failed_one_changes_nothing() {
    let (dir_one, dir_two, new) = (authority(), tempfile::tempdir().unwrap(), authority());
    let (of_one, old_two) = (files(&dir_one, ONE), files(&dir_one, TWO));
    let of_two = copy(&old_two, dir_two.path());
    let (one, _) = start(ONE, Some(&of_one));
    let (two, _) = start(TWO, Some(&of_two));
    let mut events = connected(&one, &two).await;
    let before = two.not_after_unix();

    // Node 2 gets files of the new authority; the link that is up stays, new handshakes fail until node 1 follows.
    fs::write(&of_two.key, "damaged").unwrap();
    assert!(matches!(two.reload(), Err(TlsError::File { .. })));
    assert_eq!(one.probe(TWO).await, Ok(200));
    let new_two = files(&new, TWO);
    fs::copy(&new_two.key, &of_two.key).unwrap();
    assert!(
        matches!(two.reload(), Err(TlsError::Unusable(_))),
        "the key is of another certificate"
    );
    assert_eq!(one.probe(TWO).await, Ok(200));
    copy(&new_two, dir_two.path());
    two.reload().unwrap();
    assert!(two.not_after_unix() >= before);
    unreachable(one.probe(TWO).await);
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, Bytes::from("x"), PATIENCE)
            .await
            .unwrap(),
        "x"
    );
    let new_one = files(&new, ONE);
    copy(&new_one, dir_one.path());
    one.reload().unwrap();
    assert_eq!(one.probe(TWO).await, Ok(200));
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, LinkEvent::Down { .. }));
    }
    one.set_peers(Default::default());
    one.set_peers(peer(TWO, two.local_addr()));
    event(&mut events, up).await;
}

fn copy(files: &TlsFiles, to: &Path) -> TlsFiles {
    let place = |from: &Path| {
        let path = to.join(from.file_name().unwrap());
        fs::copy(from, &path).unwrap();
        path
    };
    TlsFiles {
        authority: place(&files.authority),
        certificate: place(&files.certificate),
        key: place(&files.key),
    }
}
