//! Certificates, secrets, users: who gets in, who does not, and what changes without a restart.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use uhaha_tests::server::Scratch;
use uhaha_tests::{Cluster, Module, Node, Server, ok, wait};

/// An authority and what it has signed, as files.
struct Authority {
    dir: Scratch,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = Scratch::new();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { dir, issuer }
    }

    fn ca(&self) -> String {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes `NAME.pem` and `NAME.key`, good for this machine.
    fn sign(&self, name: &str) -> [String; 2] {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let paths = [self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))];
        std::fs::write(&paths[0], cert.pem()).unwrap();
        std::fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths
    }
}

/// What `redis-cli` prints, on one line.
fn redis_cli(server: SocketAddr, args: &[&str]) -> String {
    let port = server.port().to_string();
    let mut command = Command::new("redis-cli");
    let output = command.args(["-h", "127.0.0.1", "-p", &port]).args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().replace('\n', " ")
}

/// The seed's third way of running three nodes: with TLS and a password.
#[test]
fn three_nodes_with_a_password_serve_redis_cli() {
    let mut cluster = Cluster::empty(Module::ticket(), &["--auth", "my-password"]);
    for members in 1..=3 {
        cluster.add(&[]);
        let list = || redis_cli(cluster.address(0), &["-a", "my-password", "RAFT", "SERVER", "LIST"]);
        wait::until("the member", || (list().matches("voter true").count() == members).then_some(()));
    }
    for position in 0..3 {
        let address = cluster.address(position);
        let ticket = redis_cli(address, &["-a", "my-password", "--no-auth-warning", "TICKET"]);
        assert_eq!(ticket, (position + 1).to_string());
        assert!(redis_cli(address, &["TICKET"]).contains("NOAUTH"));
        assert!(redis_cli(address, &["-a", "another", "--no-auth-warning", "TICKET"]).contains("WRONGPASS"));
    }
}

#[test]
fn three_nodes_with_tls_and_a_password_serve_redis_cli() {
    let authority = Authority::new();
    let [cert, key] = authority.sign("node");
    let ca = authority.ca();
    let args = ["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca, "--auth", "my-password"];
    let mut cluster = Cluster::empty(Module::ticket(), &args);
    for members in 1..=3 {
        cluster.add(&[]);
        let list = || {
            redis_cli(cluster.address(0), &["--tls", "--cacert", &ca, "-a", "my-password", "RAFT", "SERVER", "LIST"])
        };
        wait::until("the member", || (list().matches("voter true").count() == members).then_some(()));
    }
    for position in 0..3 {
        let with =
            |args: &[&str]| redis_cli(cluster.address(position), &[&["--tls", "--cacert", &ca][..], args].concat());
        assert_eq!(with(&["-a", "my-password", "--no-auth-warning", "TICKET"]), (position + 1).to_string());
        assert!(with(&["TICKET"]).contains("NOAUTH"));
        let plain = redis_cli(cluster.address(position), &["TICKET"]);
        assert!(plain.contains("this port speaks TLS"), "{plain}");
        let other = Authority::new();
        let distrusting = redis_cli(cluster.address(position), &["--tls", "--cacert", &other.ca(), "TICKET"]);
        assert!(distrusting.contains("SSL_connect failed"), "{distrusting}");
    }
}

/// As many use it: one self-signed certificate for all nodes, and no authority.
#[test]
fn nodes_with_the_same_certificate_trust_each_other_and_no_other() {
    let (authority, other) = (Authority::new(), Authority::new());
    let [cert, key] = authority.sign("node");
    let mut cluster = Cluster::empty(Module::ticket(), &["--tls-cert", &cert, "--tls-key", &key]);
    cluster.add(&[]);
    cluster.add(&[]);
    cluster.server(1).wait_for_log("ready");

    let [cert, key] = other.sign("node");
    let stranger = Node::new(Module::ticket()).args(&["--id", "3", "--tls-cert", &cert, "--tls-key", &key]);
    let stranger = stranger.args(&["--join", &cluster.address(0).to_string()]);
    let stranger = stranger.launch();
    cluster.server(0).wait_for_log("a TLS handshake failed");
    stranger.wait_for_log("certificate");
    stranger.kill();
}

#[test]
fn clients_must_show_a_certificate_if_asked_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    let [cert, key] = authority.sign("node");
    let ca = authority.ca();
    let args = ["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca, "--tls-auth-clients", "yes"];
    let mut cluster = Cluster::empty(Module::ticket(), &args);
    cluster.add(&[]);
    cluster.add(&[]);
    cluster.server(1).wait_for_log("ready");
    let [own, own_key] = authority.sign("client");
    let with =
        |args: &[&str]| redis_cli(cluster.address(1), &[&["--tls", "--cacert", &ca][..], args, &["TICKET"]].concat());
    assert_eq!(with(&["--cert", &own, "--key", &own_key]), "1");
    assert!(with(&[]).contains("rror"));
    let [strange, strange_key] = other.sign("client");
    assert!(with(&["--cert", &strange, "--key", &strange_key]).contains("rror"));
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let [cert, key] = old.sign("node");
    let server = Node::new(Module::ticket()).args(&["--tls-cert", &cert, "--tls-key", &key]).start();
    assert_eq!(redis_cli(server.address(), &["--tls", "--cacert", &old.ca(), "TICKET"]), "1");
    // Half of a change: the certificate without its key.
    let [new_cert, new_key] = new.sign("node");
    std::fs::copy(new_cert, &cert).unwrap();
    server.wait_for_log("credentials are not read again");
    assert_eq!(redis_cli(server.address(), &["--tls", "--cacert", &old.ca(), "TICKET"]), "2");
    std::fs::copy(new_key, &key).unwrap();
    server.wait_for_log("credentials are read again");
    assert_eq!(redis_cli(server.address(), &["--tls", "--cacert", &new.ca(), "TICKET"]), "3");
}

fn hash(password: &str) -> String {
    let mut command = Command::new(uhaha_tests::server::binary());
    let command =
        command.arg("--hash-password").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn write(path: &Path, text: &str) {
    // A file that is half written is never seen.
    let temp = path.with_extension("new");
    std::fs::write(&temp, text).unwrap();
    std::fs::rename(temp, path).unwrap();
}

#[test]
fn users_may_call_what_the_file_says_and_the_file_may_change() {
    let dir = Scratch::new();
    let file: PathBuf = dir.path().join("users.acl");
    let (boss, app) = (hash("boss's"), hash("app's"));
    assert!(boss.starts_with("$argon2id$") && boss != hash("boss's"), "salted: {boss}");
    write(
        &file,
        &format!("user boss on {boss} +@all\nuser app on {app} +@read +@write +@connection -del +raft|leader\n"),
    );
    let mut server: Server = Node::new(Module::kvdb()).args(&["--acl-file", file.to_str().unwrap()]).start();
    let mut client = server.client();
    client.call(&["GET", "a"]).assert_error("NOAUTH");
    client.call(&["AUTH", "app", "wrong"]).assert_error("WRONGPASS");
    client.call(&["AUTH", "nobody", "app's"]).assert_error("WRONGPASS");
    assert_eq!(client.call(&["AUTH", "app", "app's"]), ok());
    assert_eq!(client.call(&["ACL", "WHOAMI"]).text(), "app");
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    assert_eq!(client.call(&["GET", "a"]).text(), "1");
    assert!(!client.call(&["RAFT", "LEADER"]).text().is_empty());
    for forbidden in
        ["DEL a", "RAFT INFO", "RAFT SERVER LIST", "RAFT SNAPSHOT NOW", "SHUTDOWN", "ACL LIST", "CONFIG GET *"]
    {
        let words: Vec<&str> = forbidden.split(' ').collect();
        client.call(&words).assert_error("NOPERM User app has no permissions");
    }
    let mut boss = server.client();
    boss.call(&["HELLO", "2", "AUTH", "boss", "boss's"]);
    let lines = boss.call(&["ACL", "LIST"]);
    assert_eq!(lines.array().len(), 2);
    assert!(lines.texts().iter().all(|line| !line.contains("argon2")), "{lines:?}");
    assert_eq!(boss.call(&["ACL", "CAT"]).texts(), ["admin", "connection", "read", "server", "write"]);
    assert!(boss.call(&["ACL", "CAT", "admin"]).texts().contains(&"shutdown"));

    // A right more for those who are connected, by SIGHUP; a mistake, which changes nothing; and none at all.
    write(&file, &format!("user app on {app} +@all -@admin\n"));
    server.signal(rustix::process::Signal::HUP);
    wait::until("the right", || (!matches!(client.call(&["DEL", "a"]), uhaha_tests::Value::Error(_))).then_some(()));
    boss.call(&["GET", "a"]).assert_error("NOAUTH");
    write(&file, "user app on nonsense\n");
    let line = server.wait_for_log("credentials are not read again");
    assert!(line.contains("line 1: \\\"nonsense\\\" is no rule"), "{line}");
    assert_eq!(client.call(&["SET", "a", "2"]), ok());
    write(&file, &format!("user app off {app} +@all\n"));
    wait::until("the end of its rights", || match client.call(&["GET", "a"]) {
        uhaha_tests::Value::Error(error) => Some(error),
        _ => None,
    });
    client.call(&["GET", "a"]).assert_error("NOAUTH");
}

#[test]
fn a_password_from_a_file_follows_the_file_and_nodes_follow_it_too() {
    let dir = Scratch::new();
    let file = dir.path().join("password");
    write(&file, "first\n");
    let mut cluster = Cluster::empty(Module::ticket(), &["--auth-file", file.to_str().unwrap()]);
    cluster.add(&[]);
    cluster.add(&[]);
    cluster.server(1).wait_for_log("ready");
    let authenticated = |position: usize, password: &str| cluster.client(position).call(&["AUTH", password]) == ok();
    assert!(authenticated(0, "first") && !authenticated(0, "second"));
    write(&file, "second");
    (0..2).for_each(|position| wait::until("the new password", || authenticated(position, "second").then_some(())));
    cluster.kill(1);
    cluster.restart(1);
    let mut client = cluster.client(1);
    assert_eq!(client.call(&["AUTH", "second"]), ok());
    assert_eq!(client.call(&["TICKET"]).integer(), 1);
}

/// Who says nothing, or half of something, is shown the door, and nobody else notices.
#[test]
fn the_silent_and_the_half_open_hold_up_nobody() {
    let authority = Authority::new();
    let [cert, key] = authority.sign("node");
    let server = Node::new(Module::ticket()).args(&["--tls-cert", &cert, "--tls-key", &key]).start();
    let plain = Server::start(Module::ticket());
    let begun: Vec<TcpStream> = (0..40)
        .map(|number| {
            let to = if number % 2 == 0 { server.address() } else { plain.address() };
            let mut stream = TcpStream::connect(to).unwrap();
            let first: &[u8] = match number % 8 {
                // Nothing; a record of TLS that never ends; a node that never says who it is; half a command.
                0 | 1 => b"",
                2 | 4 | 6 => b"\x16\x03\x01\x02\x00",
                3 | 5 => b"\0uhaha-peer",
                _ => b"*2\r\n$3\r\nGE",
            };
            stream.write_all(first).unwrap();
            stream
        })
        .collect();
    assert_eq!(redis_cli(server.address(), &["--tls", "--cacert", &authority.ca(), "TICKET"]), "1");
    assert_eq!(plain.client().call(&["TICKET"]).integer(), 1);
    for (number, mut stream) in begun.into_iter().enumerate().filter(|(number, _)| (2..=6).contains(&(number % 8))) {
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // Whether it is reset or ended, it is over.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{number} is still open"
        );
    }
}
