//! `uhaha-server inspect`: what it tells of a module, and what it refuses as a node would.

use uhaha_tests::client::words;
use uhaha_tests::server::Ended;
use uhaha_tests::{Module, Node, Server, Value};

fn inspect(node: &Node, args: &[&str]) -> Ended {
    node.clone().args(&["inspect"]).args(args).run_to_end()
}

/// What stands behind a name in the first block.
fn fact<'a>(ended: &'a Ended, name: &str) -> &'a str {
    let line = ended.stdout.lines().find(|line| line.trim_start().starts_with(name));
    line.unwrap_or_else(|| panic!("{name:?} is not in {}", ended.stdout)).trim_start()[name.len()..].trim()
}

#[test]
fn an_example_is_described_for_a_person_and_for_a_program() {
    let Module(module) = Module::kvdb();
    let ended = inspect(&Node::bare(), &[&module]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert!(ended.stdout.starts_with("kvdb "), "{}", ended.stdout);
    assert!(fact(&ended, "snapshots").starts_with("memory image: 1 memory, "), "{}", ended.stdout);
    assert!(fact(&ended, "interfaces").starts_with("batch"), "{}", ended.stdout);
    assert!(fact(&ended, "SET ").starts_with("write  3 words or more"), "{}", ended.stdout);
    assert!(fact(&ended, "GET ").starts_with("read   2 words"), "{}", ended.stdout);
    assert!(fact(&ended, "uhaha:machine/host@0.1.0").contains("host: "), "{}", ended.stdout);
    let json = inspect(&Node::bare(), &[&module, "--json"]);
    assert_eq!((json.code, json.stdout.lines().count()), (Some(0), 1));
    for part in ["\"name\":\"kvdb\"", "\"kind\":\"write\"", "\"mode\":\"memory image\""] {
        assert!(json.stdout.contains(part), "{part} is not in {}", json.stdout);
    }
    // It is what a node serves.
    let info = Server::start(Module::kvdb()).client().call(&words("MODULE INFO"));
    let info = info.fields();
    assert_eq!((fact(&ended, "sha256"), fact(&ended, "engine")), (info["hash"], info["engine"]));
    assert_eq!((info["name"], info["batch"]), ("kvdb", "true"));
}

#[test]
fn a_module_in_the_list_is_active() {
    let server = Server::start(Module::hostile());
    let mut client = server.client();
    let list = client.call(&words("MODULE LIST"));
    let [only] = list.array() else { panic!("{list:?}") };
    assert_eq!((only.fields()["name"], only.fields()["active"], only.fields()["tick"]), ("hostile", "true", "false"));
    assert!(matches!(client.call(&words("COMMAND DOCS MODULE|INFO")), Value::Array(docs) if docs.len() == 2));
}

/// What WASI is asked for, and what stands behind it.
#[test]
fn imports_of_wasi_are_told_apart() {
    let node = Node::bare();
    let text = std::fs::read_to_string(uhaha_tests::root().join("tests/guests/hostile.wat")).unwrap();
    let wasi = "(import \"wasi_snapshot_preview1\" \"random_get\" (func (param i32 i32) (result i32)))
                (import \"wasi_snapshot_preview1\" \"fd_close\" (func (param i32) (result i32)))
                (memory (export \"memory\") 2)";
    let text = text.replace("(memory (export \"memory\") 2)", wasi);
    std::fs::write(node.scratch().join("wasi.wat"), text).unwrap();
    let ended = inspect(&node, &["wasi.wat"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("wasi_snapshot_preview1")).collect();
    assert_eq!(lines.len(), 2, "{}", ended.stdout);
    assert!(lines[0].contains("virtual: ") && lines[0].ends_with("random_get"), "{}", lines[0]);
    assert!(lines[1].contains("refused: ") && lines[1].ends_with("fd_close"), "{}", lines[1]);
}

#[test]
fn what_a_node_would_refuse_exits_1_with_one_line() {
    let node = Node::bare();
    let write = |name: &str, text: &str| std::fs::write(node.scratch().join(name), text).unwrap();
    let hostile = std::fs::read_to_string(uhaha_tests::root().join("tests/guests/hostile.wat")).unwrap();
    write("text.wasm", "this is no module");
    write("bare.wat", "(component)");
    write("clash.wat", &hostile.replace("INCRAdds", "PINGAdds"));
    write("hostile.wat", &hostile);
    let cases: [(&[&str], &str); 5] = [
        (&["missing.wasm"], "cannot read the module missing.wasm"),
        (&["text.wasm"], "text.wasm is refused"),
        (&["bare.wat", "--json"], "exports no `uhaha:machine/handler@0.1.0`"),
        (&["clash.wat"], "PING"),
        (&["hostile.wat", "--guest-memory", "64KiB"], "hostile.wat is refused"),
    ];
    for (args, reason) in cases {
        let ended = inspect(&node, args);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{args:?}: {}", ended.stderr);
    }
    // The limits of the environment are those of a node.
    let ended = inspect(&node.env("UHAHA_GUEST_MEMORY", "64KiB"), &["hostile.wat"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
}
