use super::*;
use crate::dispatch::Redirect;
use std::time::Duration;

fn parse_with(line: &str, environment: &[(&str, &str)]) -> Result<Task, Error> {
    let words = std::iter::once("uhaha-server").chain(line.split_whitespace()).map(OsString::from);
    parse(words, environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn config_with(line: &str, environment: &[(&str, &str)]) -> Config {
    match parse_with(&format!("-m builtin:ticket {line}"), environment).unwrap() {
        Task::Run(config) => *config,
        Task::Print(text) => panic!("{text}"),
        other => panic!("nothing to run: {other:?}"),
    }
}

fn config(line: &str) -> Config {
    config_with(line, &[])
}

fn error_with(line: &str, environment: &[(&str, &str)]) -> String {
    let error = parse_with(line, environment).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn error(line: &str) -> String {
    error_with(&format!("-m builtin:ticket {line}"), &[])
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn short_and_long_forms_of_the_seed_are_known() {
    let config =
        config("-a :11002 -n two -d /tmp/x -l verb --nosync --openreads --localtime --try-errors --init-run-quit");
    assert_eq!(config.addresses, [":11002".parse().unwrap()]);
    assert_eq!((config.node_name.as_str(), config.dir), ("two", PathBuf::from("/tmp/x")));
    assert_eq!((config.log_level, config.redirect), (Level::Debug, Redirect::Try));
    assert!(!config.sync && config.open_reads && config.init_run_quit);
    assert_eq!(config.module.to_string(), "builtin:ticket");
    let config = self::config("--nosync --sync --openreads --noopenreads");
    assert!(config.sync && !config.open_reads);
    let config = self::config("-a 127.0.0.1:7000,[::1]:7000 -t 1");
    assert_eq!(config.addresses, ["127.0.0.1:7001".parse().unwrap(), "[::1]:7001".parse().unwrap()]);
    assert!(config.join.is_empty());
    let config = self::config("-t 2");
    assert_eq!((config.addresses[0].port(), config.node_name.as_str()), (11002, "2"));
    assert_eq!(config.join, ["127.0.0.1:11001".parse().unwrap()]);
    let config = self::config("-j a:1,b:2 --nonvoter --redirect moved");
    assert_eq!(config.join, ["a:1".parse().unwrap(), "b:2".parse().unwrap()]);
    assert!(config.nonvoter && config.redirect == Redirect::Moved);
}

#[test]
fn ntp_servers_are_named_with_or_without_a_port() {
    assert!(config("--localtime").ntp.is_empty());
    let config = config_with("", &[("UHAHA_NTP", "a.example, b.example:1123,[::1]")]);
    let shown: Vec<String> = config.ntp.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a.example:123", "b.example:1123", "[::1]:123"]);
    assert_eq!((config.ntp_interval, config.clock_skew_max), (Duration::from_secs(60), Duration::from_millis(500)));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = file("tick = '1s'\nmax-clients = 5\nkeepalive = '7s'\nnosync = true\ntry-errors = true\n");
    let line = format!("--config {} --tick 3s", file.path().display());
    let environment = [("UHAHA_TICK", "2s"), ("UHAHA_MAX_CLIENTS", "6"), ("UHAHA_TRY_ERRORS", "no"), ("OTHER", "x")];
    let config = config_with(&line, &environment);
    assert_eq!(config.tick, Duration::from_secs(3));
    assert_eq!(config.clients, 6);
    assert_eq!(config.keepalive, Duration::from_secs(7));
    assert_eq!(config.redirect, Redirect::Forward);
    assert!(!config.sync);
    assert_eq!(config.snapshot_keep, 3);
    assert!(config_with(&format!("{line} --sync"), &environment).sync);
    assert!(config_with(&line, &[("UHAHA_NOSYNC", "false")]).sync);
    assert!(config_with(&line, &[("UHAHA_SYNC", "true")]).sync);
}

#[test]
fn the_file_may_be_named_by_the_environment_and_hold_everything() {
    let file =
        file("module = 'guest.wasm'\naddr = ['127.0.0.1:1', '[::1]:2']\nauth = 'pw'\nmax-argument-bytes = 1024\n");
    let path = file.path().to_str().unwrap();
    let Task::Run(config) = parse_with("", &[("UHAHA_CONFIG", path)]).unwrap() else { panic!() };
    assert_eq!(config.module, Module::Path("guest.wasm".into()));
    assert_eq!(config.addresses.len(), 2);
    assert_eq!(config.argument_bytes, 1024);
    assert!(config.auth.is_some() && !format!("{config:?}").contains("pw"));
}

#[test]
fn every_mistake_is_one_line_that_names_its_place() {
    assert!(error_with("", &[]).starts_with("--module is missing: give a WebAssembly file"));
    assert_eq!(
        error("--moduel x"),
        "unexpected argument '--moduel' found: a similar argument exists: '--module' (see --help)"
    );
    let tick = "invalid value 'x' for '--tick <DURATION>': expected a duration such as 200ms, 5s or 1h 30m";
    assert_eq!(error("--tick x"), format!("{tick} (see --help)"));
    assert_eq!(error_with("", &[("UHAHA_TICK", "x")]), format!("UHAHA_TICK: {tick}"));
    assert_eq!(error_with("", &[("UHAHA_NOSYNC", "x")]), "UHAHA_NOSYNC: expected true or false");
    for (text, message) in [
        ("tick = 'x'", format!("tick: {tick}")),
        ("tock = 1", "tock: there is no such option".into()),
        ("config = 'x'", "config: there is no such option".into()),
        ("[tick]\na = 1", "tick: expected text, a number, true or false, or a list of texts".into()),
        ("nosync = 2", "nosync: expected true or false".into()),
        ("\nno toml", "line 2: ".into()),
    ] {
        let file = file(text);
        let path = file.path().display();
        let error = error(&format!("--config {path}"));
        assert!(error.starts_with(&format!("{path}: {message}")), "{error}");
    }
    assert!(error("--config /nope").starts_with("cannot read the configuration file /nope: "));
}

#[test]
fn a_variable_that_is_no_option_is_worth_a_warning() {
    let config = config_with("", &[("UHAHA_MAX_CLIENT", "1"), ("PATH", "x"), ("UHAHA_AUTH", "")]);
    assert_eq!(config.warnings, ["the environment variable UHAHA_MAX_CLIENT is not an option"]);
    assert!(config.auth.is_none());
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for (line, message) in [
        ("--tick 0", "--tick must not be 0"),
        ("--max-clients 0", "--max-clients must not be 0"),
        (
            "--max-argument-bytes 1GiB",
            "--max-argument-bytes (1GiB) must not be larger than --max-request-bytes (128MiB)",
        ),
        ("--queue-bytes 1MiB", "--max-request-bytes (128MiB) must not be larger than --queue-bytes (1MiB)"),
        ("--clients-memory 1MiB", "--max-request-bytes (128MiB) must not be larger than --clients-memory (1MiB)"),
        ("--advertise :1", "--advertise :1 must name a host and a port that clients can reach"),
        ("-n ../x", "--id \"../x\" must be 1 to 64 letters, digits, '-', '_' or '.', and not begin with '.'"),
        ("--tls-cert a", "--tls-cert and --tls-key go together"),
        ("-j a:1 --restore x", "--restore and --join exclude each other: a cluster is restored on its first node"),
        (
            "--bootstrap-expect 3",
            "--bootstrap-expect needs --join with the addresses of all nodes that the cluster begins with",
        ),
        (
            "--bootstrap-expect 3 -j a:1,b:1 --nonvoter",
            "--bootstrap-expect and --nonvoter exclude each other: a cluster begins with voters",
        ),
        (
            "--force-new-cluster --restore x",
            "--force-new-cluster and --restore exclude each other: one needs data in --dir, the other none",
        ),
        ("--tls-ca a", "--tls-ca and --tls-auth-clients mean nothing without --tls-cert"),
        ("--auth a --auth-file b", "--auth and --auth-file exclude each other"),
        ("--backend raft-log", "--backend \"raft-log\" is not known: the log is kept in redb"),
        (
            "--localtime --ntp a",
            "--localtime and --ntp exclude each other: the clock is the system's, or follows NTP servers",
        ),
        ("--ntp-interval 0", "--ntp-interval must not be 0"),
        ("--max-clock-skew 0", "--max-clock-skew must not be 0"),
        ("--ntp a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "--ntp must not be more than 16 servers"),
        ("--heartbeat 300ms", "--heartbeat (300ms) must be at most half of --election-timeout (500ms)"),
    ] {
        assert_eq!(error(line), message, "{line}");
    }
    assert!(error("-a nope").contains("expected HOST:PORT, [IPV6]:PORT or :PORT"));
    assert!(error("--ntp a,").contains("expected HOST, HOST:PORT or [IPV6]:PORT"));
    assert!(error("-m builtin:").contains("expected builtin:ticket, builtin:kvdb or builtin:timeseries"));
}

#[test]
fn version_and_help_are_printed_whatever_else_is_typed() {
    for line in ["-v", "--version", "-V --nosync"] {
        assert!(
            matches!(parse_with(line, &[]).unwrap(), Task::Print(text) if text.starts_with("uhaha-server version 0"))
        );
    }
    for line in ["-h", "--help", "--nosync -h"] {
        assert!(matches!(parse_with(line, &[]).unwrap(), Task::Print(text) if text.contains("Examples:")));
    }
}

/// `UPDATE_HELP=1 cargo test` writes the file anew.
#[test]
fn the_help_is_as_it_was_last_read_by_a_person() {
    use clap::CommandFactory;
    let help = Args::command().term_width(110).render_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(path, &help).unwrap();
    }
    assert_eq!(help, std::fs::read_to_string(path).unwrap_or_default());
    assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
}
