//! The node's clock: the system's, or what NTP servers say; here chronyd, and one that lies.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use uhaha_tests::ntp::{Chronyd, FakeServer, free_port};
use uhaha_tests::{Module, Node, Server, int, wait};

const HOUR_US: i64 = 3_600_000_000;
const SECOND_US: i64 = 1_000_000;

/// `INFO time`.
fn info(server: &Server) -> BTreeMap<String, String> {
    let info = server.client().call(&["INFO", "time"]);
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    info.text().lines().filter_map(field).collect()
}

fn ahead_us(server: &Server) -> i64 {
    info(server)["time_ahead_of_system_us"].parse().unwrap()
}

fn wait_for(server: &Server, field: &str, part: &str) {
    wait::until(&format!("{part} in {field}"), || info(server).get(field)?.contains(part).then_some(()));
}

fn system_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn start(servers: &[&str]) -> Server {
    let args = ["--ntp", &servers.join(","), "--ntp-interval", "100ms"];
    Node::new(Module::ticket()).args(&args).start()
}

#[test]
fn without_a_flag_the_clock_is_the_systems_and_info_says_whether_it_is_kept_right() {
    for args in [&[][..], &["--localtime"]] {
        let server = Node::new(Module::ticket()).args(args).start();
        let info = info(&server);
        assert_eq!((&*info["time_source"], &*info["time_ahead_of_system_us"]), ("os", "0"));
        let said = match info["time_synchronized"].as_str() {
            "no" => server.wait_for_log("the system's clock is not synchronized").contains("--ntp"),
            state => ["yes", "unknown"].contains(&state),
        };
        assert!(said, "{info:?}");
    }
}

#[test]
fn a_node_starts_without_its_ntp_server_and_follows_chronyd_once_it_is_there() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let server = start(&[&address]);
    let mut client = server.client();
    assert_eq!(client.call(&["TICKET"]), int(1));
    server.wait_for_log("no NTP server answers");
    wait_for(&server, "time_synchronized", "no");
    let chronyd = Chronyd::start(port);
    wait_for(&server, "time_synchronized", "yes");
    server.wait_for_log("the clock follows NTP servers");
    let state = format!("name={address},state=used,");
    wait_for(&server, "time_server0", &state);
    assert!(info(&server)["time_server0"].ends_with("stratum=3"));
    assert!(ahead_us(&server).abs() < SECOND_US);
    assert_eq!(client.call(&["TICKET"]), int(2));
    drop(chronyd);
    wait_for(&server, "time_synchronized", "no");
    wait_for(&server, "time_server0", "state=silent");
    assert_eq!(client.call(&["TICKET"]), int(3));
    let _chronyd = Chronyd::start(port);
    wait_for(&server, "time_synchronized", "yes");
    let said = |what| server.log().matches(what).count();
    wait::until("the log", || (said("the clock follows NTP servers") == 2).then_some(()));
    assert_eq!(said("no NTP server answers"), 2, "once each time");
}

#[test]
fn of_several_servers_the_one_that_is_wrong_is_dropped() {
    let liar = FakeServer::start(3600);
    let ports = [free_port(), free_port()];
    let _chronyds = ports.map(Chronyd::start);
    let [first, second] = ports.map(|port| format!("127.0.0.1:{port}"));
    let server = start(&[&liar.address(), &first, &second]);
    for (server_field, state) in [("time_server1", "used"), ("time_server2", "used"), ("time_server0", "dropped")] {
        wait_for(&server, server_field, &format!("state={state}"));
    }
    assert!(ahead_us(&server).abs() < SECOND_US);
    assert!(info(&server)["time_server0"].contains("ahead_us=3"), "{:?}", info(&server));
}

#[test]
fn two_servers_that_disagree_are_not_believed() {
    let servers = [FakeServer::start(3600), FakeServer::start(-3600)];
    let server = start(&[&servers[0].address(), &servers[1].address()]);
    server.wait_for_log("the NTP servers disagree");
    assert_eq!((ahead_us(&server), &*info(&server)["time_synchronized"]), (0, "no"));
    servers[1].set(3600);
    wait_for(&server, "time_synchronized", "yes");
    assert!((ahead_us(&server) - HOUR_US).abs() < SECOND_US);
}

/// The machine's time steps forward when the first server is heard and never back, whatever the servers say later.
#[test]
fn the_machines_time_follows_the_first_answer_at_once_and_never_goes_back() {
    let ntp = FakeServer::start(3600);
    let server = start(&[&ntp.address()]);
    wait_for(&server, "time_synchronized", "yes");
    let mut client = server.client();
    let mut machine_time = || {
        client.call(&["TICKET"]);
        client.call(&["MACHINE"]).fields()["now"].parse::<u64>().unwrap()
    };
    let mut last = machine_time();
    assert!(last > system_now() + 3500 * 1_000_000_000);
    ntp.set(-3600);
    wait::until("the other time", || (ahead_us(&server) < -HOUR_US + SECOND_US).then_some(()));
    for _ in 0..100 {
        let now = machine_time();
        assert!(now > last);
        last = now;
    }
}
