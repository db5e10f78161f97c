use super::super::{ACCESS, Error, GLOBALS_OFFSET, Plan, PlannedMemory, grow, load, save};
use super::rig::{End, Program, Rig, component, rewritten, with_stack};
use super::stack::{DOWN, deepest};
use super::{GUEST, instrumented};

/// A component whose `f(n)` adds `n` to a global and, twice, to its memory, and returns the sum of all three.
const COUNTER: &str = r#"
    (core module $m
      (memory 1) (global $sum (mut i64) (i64.const 0))
      (func $add (param i32) (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 0))))
      (func (export "f") (param i32) (result i32)
        (call $add (local.get 0)) (call $add (local.get 0))
        (global.set $sum (i64.add (global.get $sum) (i64.extend_i32_s (local.get 0))))
        (drop (memory.grow (i32.eq (local.get 0) (i32.const 7))))
        (i32.add (i32.load (i32.const 8)) (i32.wrap_i64 (global.get $sum)))))
    (core instance $i (instantiate $m))
    (func (export "f") (param "n" s32) (result s32) (canon lift (core func $i "f")))"#;

/// Two instances of one component, a third one level further in, and a module of the outer component between them.
fn nest() -> String {
    format!(
        r#"(component
          (component $counter {COUNTER})
          (component $around
            (component $inner {COUNTER})
            (instance $in (instantiate $inner))
            (export "f" (func $in "f")))
          (instance $a (instantiate $counter))
          (core module $own (memory i64 2) (global (mut f64) (f64.const 0.5)) (global (mut i32) (i32.const 3)))
          (core instance (instantiate $own))
          (instance $b (instantiate $around))
          (instance $c (instantiate $counter))
          (export "a" (func $a "f")) (export "b" (func $b "f")) (export "c" (func $c "f")))"#
    )
}

impl Rig {
    fn access<P, R>(&mut self, name: &str, params: P) -> R
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + 'static,
    {
        let (_, access) = self.instance.get_export(&mut self.store, None, ACCESS).unwrap();
        let (_, function) = self.instance.get_export(&mut self.store, Some(&access), name).unwrap();
        self.instance.get_typed_func(&mut self.store, function).unwrap().call(&mut self.store, params).unwrap()
    }

    /// What all memories hold once the accessors have saved the globals.
    fn state(&mut self, plan: &Plan) -> Vec<Vec<u8>> {
        for accessor in 0..plan.globals.len() {
            self.access::<_, ()>(&save(accessor), ());
        }
        self.made.iter().map(|memory| memory.content()).collect()
    }

    fn set_state(&mut self, plan: &Plan, state: &[Vec<u8>]) {
        let mut guests = 0;
        for (number, (kind, bytes)) in plan.memories.iter().zip(state).enumerate() {
            if let PlannedMemory::Guest { wide } = kind {
                let pages = (bytes.len() - self.made[number].bytes()) >> 16;
                match wide {
                    true => assert_ne!(self.access::<_, (i64,)>(&grow(guests), (pages as i64,)), (-1,)),
                    false => assert_ne!(self.access::<_, (i32,)>(&grow(guests), (pages as i32,)), (-1,)),
                }
                guests += 1;
            }
            self.made[number].write(0, bytes).unwrap();
        }
        for accessor in 0..plan.globals.len() {
            self.access::<_, ()>(&load(accessor), ());
        }
    }
}

#[test]
fn memories_and_globals_are_found_in_the_order_of_their_creation() {
    let plan = instrumented(&nest()).unwrap();
    let (keeper, wide) = (PlannedMemory::Keeper, PlannedMemory::Guest { wide: true });
    assert_eq!(plan.globals, [2, 1, 1, 1]);
    assert_eq!(plan.memories, [keeper, keeper, GUEST, wide, keeper, GUEST, keeper, GUEST]);
    assert_eq!(plan.guest_memories().collect::<Vec<_>>(), [false, true, false, false]);
}

#[test]
fn the_state_of_nested_components_goes_from_one_instance_to_another() {
    let (wasm, plan) = rewritten(&nest());
    let program = Program::new(&wasm);
    let (mut first, mut second) = (program.start(), program.start());
    for (name, n, sum) in [("a", 1, 3), ("b", 7, 21), ("c", 50, 150), ("b", 1, 24), ("a", 7, 24)] {
        assert_eq!(first.call(name, n), End::Value(sum));
    }
    let state = first.state(&plan);
    assert_eq!(state.iter().map(|bytes| bytes.len() >> 16).collect::<Vec<_>>(), [1, 1, 2, 2, 1, 2, 1, 1]);
    assert_eq!(state[0][GLOBALS_OFFSET..][..8], 0.5_f64.to_le_bytes());
    second.set_state(&plan, &state);
    assert_eq!(second.state(&plan), state);
    for (name, n, sum) in [("a", 0, 24), ("b", 2, 30), ("c", 0, 150)] {
        assert_eq!(second.call(name, n), End::Value(sum), "{name}");
        assert_eq!(first.call(name, n), End::Value(sum), "{name}");
    }
    assert_eq!(second.state(&plan), first.state(&plan));
}

#[test]
fn a_module_from_an_outer_component_is_captured_where_it_is_instantiated() {
    let wat = r#"(component $outer
        (core module $m (memory 1) (global (mut i32) (i32.const 5))
          (func $g (result i32) (global.get 0)) (func (export "f") (param i32) (result i32) (call $g)))
        (component $middle
          (component $inner
            (alias outer $outer $m (core module $n))
            (core instance $i (instantiate $n))
            (func (export "f") (param "n" s32) (result s32) (canon lift (core func $i "f"))))
          (instance $in (instantiate $inner))
          (export "f" (func $in "f")))
        (alias outer $outer $middle (component $again))
        (instance $one (instantiate $middle)) (instance $two (instantiate $again))
        (export "f" (func $one "f")))"#;
    assert_eq!(instrumented(wat).unwrap().globals, [1, 1]);
    assert_eq!(Rig::rewritten(wat).call("f", 0), End::Value(5));
}

#[test]
fn a_component_without_state_stays_as_it_is() {
    let wat = "(component (component $c (core module $m (func (export \"f\"))) (core instance (instantiate $m)))
        (instance (instantiate $c)))";
    let (wasm, plan) = rewritten(wat);
    assert_eq!(plan, Plan::default());
    assert_eq!(wasm, wat::parse_str(wat).unwrap());
}

#[test]
fn refuses_modules_and_components_that_it_cannot_know() {
    let refused = |wat: &str| instrumented(wat).unwrap_err().to_string();
    let imported = "(component (component $c (import \"m\" (core module $m)) (core instance (instantiate $m)))
        (core module $own) (instance (instantiate $c (with \"m\" (core module $own)))))";
    assert!(refused(imported).contains("imports a Module"), "{}", refused(imported));
    let exported = "(component (component $c (core module $m (memory 1)) (export \"m\" (core module $m)))
        (instance $i (instantiate $c)) (alias export $i \"m\" (core module $n)) (core instance (instantiate $n)))";
    assert!(refused(exported).contains("exports a Module"), "{}", refused(exported));
    let component = "(component (component $c (import \"x\" (component $x)) (instance (instantiate $x))))";
    assert!(refused(component).contains("imports a Component"), "{}", refused(component));
}

/// Components that double inside of components are more than any machine has room for.
#[test]
fn refuses_too_many_instances_without_counting_them_one_by_one() {
    let mut wat = format!("(component $c0 {COUNTER})");
    for level in 1..60 {
        let inner = level - 1;
        wat = format!(
            "(component $c{level} {wat} (instance (instantiate $c{inner})) (instance (instantiate $c{inner})))"
        );
    }
    assert!(matches!(instrumented(&wat), Err(Error::TooManyInstances { .. })));
}

/// Each component has a counter of its own, and all of them together have no more than there is.
#[test]
fn nested_components_share_the_stack() {
    let alone = component(DOWN);
    let inner = alone.strip_prefix("(component").unwrap();
    let twice = format!(
        "(component (component $c {inner} (instance $a (instantiate $c)) (instance $b (instantiate $c))
         (export \"f\" (func $a \"f\")) (export \"g\" (func $b \"f\")))"
    );
    with_stack(|| {
        let whole = deepest(&Program::new(&rewritten(&alone).0));
        let share = Program::new(&rewritten(&twice).0);
        assert!(whole.abs_diff(2 * deepest(&share)) <= 2, "{whole}");
        assert_eq!(share.start().call("g", whole / 3), End::Value(whole / 3));
    });
}
