mod nested;
mod rig;
mod stack;

use super::*;

fn instrumented(wat: &str) -> Result<Plan, Error> {
    instrument(&wat::parse_str(wat).unwrap(), true).map(|(_, plan)| plan)
}

fn module(body: &str) -> String {
    format!("(component (core module $m {body}) (core instance (instantiate $m)))")
}

const GUEST: PlannedMemory = PlannedMemory::Guest { wide: false };

#[test]
fn counts_globals_and_memories() {
    let plan = instrumented(&module(
        "(memory 1) (global (mut i32) (i32.const 0)) (global i32 (i32.const 1)) (global (mut v128) (v128.const i64x2 0 0))
         (global (mut f64) (f64.const 0)) (export \"x\" (global 0)) (func)",
    ))
    .unwrap();
    assert_eq!(plan, Plan { globals: vec![3], memories: vec![PlannedMemory::Keeper, GUEST], resources: vec![] });
    assert_eq!(instrumented("(component)").unwrap(), Plan::default());
}

#[test]
fn a_module_instantiated_twice_counts_twice() {
    let wat = "(component (core module $m (memory 1) (global (mut i64) (i64.const 0)))
               (core instance (instantiate $m)) (core instance (instantiate $m)))";
    assert_eq!(
        instrumented(wat).unwrap(),
        Plan { globals: vec![2], memories: vec![PlannedMemory::Keeper, GUEST, GUEST], resources: vec![] }
    );
}

#[test]
fn refuses_what_an_image_cannot_hold() {
    let refused = |body: &str| instrumented(&module(body)).unwrap_err().to_string();
    let table = "(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))";
    assert!(refused(table).contains("table.set"), "{}", refused(table));
    assert!(refused("(data $d \"x\") (func (data.drop $d))").contains("data.drop"));
    assert!(refused("(global (mut funcref) (ref.null func))").contains("reference"));
    assert!(refused("(memory 1 1 shared)").contains("shared"));
}
