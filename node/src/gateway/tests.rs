//! Sockets, from outside: real WebSockets on loopback, with the real state behind them.

mod company;
mod sockets;
mod talk;
mod world;

#[test]
fn pages_of_all_nodes_may_connect_to_each() {
    let nodes = ["http://127.0.0.1:7501".to_owned(), "http://127.0.0.1:7502".to_owned()];
    let allowed = |origin: &'static str| {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("host", "127.0.0.1:7501".parse().unwrap());
        headers.insert("origin", origin.parse().unwrap());
        super::origin_allowed(&headers, &[], &nodes)
    };
    assert!(allowed("http://127.0.0.1:7501"), "its own");
    assert!(
        allowed("http://127.0.0.1:7502"),
        "served by a node that may be dead by now"
    );
    assert!(!allowed("http://127.0.0.1:7503"));
    assert!(!allowed("http://evil.example"));
}
