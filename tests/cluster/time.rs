//! Clocks that are apart: the machine's time goes on all the same, and the leader says whose clock is wrong.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uhaha_tests::ntp::FakeServer;
use uhaha_tests::{Client, Cluster, Module, ok, wait};

const HOUR: u64 = 3600 * 1_000_000_000;

fn info(cluster: &Cluster, position: usize) -> String {
    cluster.client(position).call(&["INFO", "time"]).text().to_owned()
}

fn skew_us(cluster: &Cluster, position: usize) -> Option<i64> {
    let info = info(cluster, position);
    info.lines().find_map(|line| line.strip_prefix("time_skew_us:")).map(|skew| skew.parse().unwrap())
}

/// What the guest takes for now in a write.
fn machine_time(client: &mut Client, series: &str) -> u64 {
    assert_eq!(client.call(&["WRITE", series, "now", "x=1"]), ok());
    let points = client.call(&["QUERY", series, "0", &u64::MAX.to_string(), "all"]);
    let texts = points.texts();
    texts.last().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// Three nodes, of which the first follows an NTP server that is an hour ahead.
fn cluster_with_one_ahead(ntp: &FakeServer) -> Cluster {
    let mut cluster = Cluster::empty(Module::timeseries(), &[]);
    cluster.add(&["--ntp", &ntp.address(), "--ntp-interval", "100ms"]);
    cluster.add(&[]);
    cluster.add(&[]);
    cluster.wait_for_voters(3);
    wait::until("the hour", || info(&cluster, 0).contains("time_synchronized:yes").then_some(()));
    cluster
}

#[test]
fn time_goes_on_and_never_back_when_a_leader_that_is_ahead_hands_over() {
    let ntp = FakeServer::start(3600);
    let cluster = cluster_with_one_ahead(&ntp);
    cluster.lead(0);
    let mut client = cluster.client(1);
    let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut last = machine_time(&mut client, "series");
    assert!(last > system + HOUR * 9 / 10, "the leader's clock is the machine's");
    for leader in [1, 2, 0, 2] {
        cluster.lead(leader);
        let first = machine_time(&mut client, "series");
        assert!(first > last, "{first} after {last}");
        // It is never slower than nine tenths, so nothing that waits for time waits for the hour to be over.
        let replied = Instant::now();
        let (next, passed) = wait::until("a moment", || {
            let passed = replied.elapsed();
            let next = machine_time(&mut client, "series");
            (passed > Duration::from_millis(100)).then_some((next, passed))
        });
        assert!(next - first >= passed.as_nanos() as u64 * 89 / 100, "{} in {passed:?}", next - first);
        last = next;
    }
    cluster.server(1).wait_for_log("the log's time is ahead of this leader's clock");
}

#[test]
fn a_leader_says_whose_clock_is_far_from_the_quorums() {
    let ntp = FakeServer::start(3600);
    let cluster = cluster_with_one_ahead(&ntp);
    cluster.lead(0);
    let said = cluster.server(0).wait_for_log("this leader's clock is far from its quorum's");
    assert!(said.contains("node=\"1\"") && said.contains("+3") && said.contains("others=\"2 -3"), "{said}");
    wait::until("the skew in INFO", || (skew_us(&cluster, 0)? > 3_500_000_000).then_some(()));
    wait::until("the others' skew", || (skew_us(&cluster, 1)?.abs() < 1_000_000).then_some(()));
    cluster.lead(1);
    let said = cluster.server(1).wait_for_log("a node's clock is far from its quorum's");
    assert!(said.contains("node=\"1\""), "{said}");
    // Once the clock is right again, that is said too.
    ntp.set(0);
    cluster.server(1).wait_for_log("a clock is no longer far from its quorum's");
}
