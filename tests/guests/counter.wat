;; Counts its writes, echoes, and asks for ticks only once told to: for tests of what lies around a guest.
;; Memory: 16 the result, 64 the reply's token, 3072 the description, 4096 its strings.
(module
  (memory (export "memory") 2)
  (global $count (mut i64) (i64.const 0))
  (global $ticking (mut i32) (i32.const 0))
  (global $top (mut i32) (i32.const 65536))
  (data (i32.const 3072) "\00\10\00\00\07\00\00\00\07\10\00\00\05\00\00\00\88\10\00\00\05\00\00\00\00\00\00\00")
  (data (i32.const 4096) "counter1.0.0ACounts, and returns the countBAs AECounts, and returns its argumentRReturns the countWCounts, and wants ticks from then on\00")
  (data (i32.const 4232) "\0c\10\00\00\01\00\00\00\00\00\00\00\ff\ff\ff\ff\0d\10\00\00\1d\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00*\10\00\00\01\00\00\00\00\00\00\00\ff\ff\ff\ff+\10\00\00\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00/\10\00\00\01\00\00\00\00\00\00\00\02\00\00\000\10\00\00 \00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00P\10\00\00\01\00\00\00\01\00\00\00\ff\ff\ff\ffQ\10\00\00\11\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00b\10\00\00\01\00\00\00\00\00\00\00\01\00\00\00c\10\00\00$\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")

  ;; Arguments are bump-allocated and given back by the call that gets them.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))) (then
      (if (i32.eq (memory.grow (i32.add (i32.shr_u (local.get $bytes) (i32.const 16)) (i32.const 1))) (i32.const -1))
        (then unreachable))))
    (local.get $at))

  (func (export "uhaha:machine/handler@0.1.0#describe") (result i32) (i32.const 3072))
  (func (export "uhaha:machine/ticker@0.1.0#tick") (result i32) (global.get $ticking))

  (func (export "uhaha:machine/handler@0.1.0#handle") (param $command i32) (param $args i32) (param i32) (result i32)
    (global.set $top (i32.const 65536))
    (if (i32.ne (local.get $command) (i32.const 3)) (then
      (global.set $count (i64.add (global.get $count) (i64.const 1)))))
    (if (i32.eq (local.get $command) (i32.const 4)) (then (global.set $ticking (i32.const 1))))
    (i32.store (i32.const 64) (i32.const 2))
    (i64.store (i32.const 72) (global.get $count))
    (if (i32.eq (local.get $command) (i32.const 2)) (then
      (i32.store (i32.const 64) (i32.const 5))
      (i64.store (i32.const 72) (i64.load (local.get $args)))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 64))
    (i32.store (i32.const 24) (i32.const 1))
    (i32.const 16))
)
