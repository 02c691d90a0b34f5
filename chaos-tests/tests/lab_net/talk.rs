//! Programs that talk to each other from namespace to namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::lab::net::{Host, Net};

pub const CLIENTS: Host = Host::Clients;
pub const N1: Host = Host::Node(1);
pub const N2: Host = Host::Node(2);
pub const N3: Host = Host::Node(3);

/// How long something must stay away that is cut off.
pub const SILENCE: Duration = Duration::from_millis(400);
const PORT: u16 = 7777;

/// Answers each line with the same line, says `reset` on its output when a connection is, and takes `sum` for a question
/// after the bytes that it has got: it then reads so many and answers with their SHA-256.
const SERVER: &str = r#"
import hashlib, socketserver, sys
class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            for line in self.rfile:
                if line.startswith(b"sum "):
                    left, digest = int(line[4:]), hashlib.sha256()
                    while left:
                        piece = self.rfile.read1(min(left, 65536))
                        if not piece: return
                        digest.update(piece); left -= len(piece)
                    line = digest.hexdigest().encode() + b"\n"
                self.wfile.write(line); self.wfile.flush()
        except (ConnectionResetError, ConnectionAbortedError):
            print("reset", flush=True)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
server = Server(("0.0.0.0", int(sys.argv[1])), Talk)
print("ready", flush=True)
server.serve_forever()
"#;

/// A server on a host, ended with this value.
pub struct Server {
    host: Host,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub fn start(net: &Net, host: Host) -> Result<Self> {
        let mut python = net.command_in(host, "python3");
        let mut child = python
            .args(["-c", SERVER, &PORT.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut server = Self { host, child, output };
        ensure!(server.says()? == "ready");
        Ok(server)
    }

    /// The next line of its output.
    pub fn says(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it still runs");
        self.child.wait().expect("a child of ours");
    }
}

/// A connection from a host to a server.
pub struct Talk(pub TcpStream);

impl Talk {
    pub fn begin(net: &Net, from: Host, to: &Server) -> Result<Self> {
        let address = SocketAddr::from((to.host.address(), PORT));
        let stream = net.inside(from, || {
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1))?)
        });
        let stream = stream.with_context(|| format!("from {from} to {}", to.host))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    pub fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())
    }

    /// Whether the answer to that has come.
    pub fn hears(&mut self, line: &str) -> std::io::Result<()> {
        let mut answer = vec![0; line.len() + 1];
        self.0.read_exact(&mut answer)?;
        assert_eq!(answer, format!("{line}\n").as_bytes());
        Ok(())
    }

    pub fn asks(&mut self, line: &str) -> std::io::Result<()> {
        self.say(line)?;
        self.hears(line)
    }
}

/// Whether a datagram of one arrives at the other.
pub fn is_heard(net: &Net, from: Host, to: Host) -> Result<bool> {
    let ear = socket(net, to)?;
    ear.set_read_timeout(Some(SILENCE))?;
    socket(net, from)?.send_to(b"hello", ear.local_addr()?)?;
    match ear.recv_from(&mut [0; 16]) {
        Ok((_, who)) => {
            ensure!(who.ip() == from.address(), "{who} is not {from}");
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A UDP socket on a host.
pub fn socket(net: &Net, host: Host) -> Result<UdpSocket> {
    net.inside(host, || Ok(UdpSocket::bind((host.address(), 0))?))
}
