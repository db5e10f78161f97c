;; A guest that calls the host where it must not, and whose ticks fail. A core module.
;; Memory: 16 the result, 64 the reply's tokens, 512 what the host returns, 2048 the counter, 2056 finished ticks, 2064
;; and 2072 what it was told while it was instantiated, 3072 the description, 4096 the names of the commands, 5120 what is
;; said of each.
(module
  (import "uhaha:machine/host@0.1.0" "now" (func $now (result i64)))
  (import "uhaha:machine/host@0.1.0" "random-u64" (func $random (result i64)))
  (import "uhaha:machine/host@0.1.0" "random-bytes" (func $random-bytes (param i32 i32)))
  (import "uhaha:machine/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "uhaha:machine/portable-io@0.1.0" "write" (func $write (param i32 i32)))
  (import "uhaha:machine/portable-io@0.1.0" "read" (func $read (param i32 i32)))
  (memory (export "memory") 2)
  (global $counter (mut i64) (i64.const 0))
  (global $top (mut i32) (i32.const 65536))
  ;; Whether the call of the host is to be made after the reply.
  (global $late (mut i32) (i32.const 0))
  ;; What a tick does: 0 nothing, 1 traps, 2 never ends, 3 takes all memory, 4 recurses, 5 writes to `portable-io`.
  (global $mode (mut i32) (i32.const 0))
  (data (i32.const 4016) "misplaced1.0hello")
  ;; Each in eight bytes.
  (data (i32.const 4096) "INCR    GET     WRITE   READ    RWRITE  RREAD   BYTES   SAY     LATE    SEEN    ARM     ")

  (func (export "_initialize")
    (i64.store (i32.const 2064) (call $now))
    (i64.store (i32.const 2072) (call $random))
    (call $log (i32.const 1) (i32.const 4028) (i32.const 5)))

  ;; An argument of 13 bytes has the host asked for the time while the host hands it over.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $bytes i32) (result i32)
    (local $at i32)
    (if (i32.eq (local.get $bytes) (i32.const 13)) (then (drop (call $now))))
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  (func $declare (param $command i32) (param $name-bytes i32) (param $kind i32) (param $arity i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 5120) (i32.mul (local.get $command) (i32.const 40))))
    (i32.store (local.get $at) (i32.add (i32.const 4096) (i32.shl (local.get $command) (i32.const 3))))
    (i32.store offset=4 (local.get $at) (local.get $name-bytes))
    (i32.store8 offset=8 (local.get $at) (local.get $kind))
    (i32.store offset=12 (local.get $at) (local.get $arity)))
  (func (export "uhaha:machine/handler@0.1.0#describe") (result i32)
    (i32.store (i32.const 3072) (i32.const 4016))
    (i32.store (i32.const 3076) (i32.const 9))
    (i32.store (i32.const 3080) (i32.const 4025))
    (i32.store (i32.const 3084) (i32.const 3))
    (i32.store (i32.const 3088) (i32.const 5120))
    (i32.store (i32.const 3092) (i32.const 11))
    (call $declare (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 1) (i32.const 3) (i32.const 1) (i32.const 1))
    (call $declare (i32.const 2) (i32.const 5) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 3) (i32.const 4) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 4) (i32.const 6) (i32.const 1) (i32.const 1))
    (call $declare (i32.const 5) (i32.const 5) (i32.const 1) (i32.const 1))
    (call $declare (i32.const 6) (i32.const 5) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 7) (i32.const 3) (i32.const 0) (i32.const 2))
    (call $declare (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 1))
    (call $declare (i32.const 9) (i32.const 4) (i32.const 1) (i32.const 1))
    (call $declare (i32.const 10) (i32.const 3) (i32.const 0) (i32.const 2))
    (i32.const 3072))

  ;; The counter stands in memory and in a global, so that a test sees both undone.
  (func $add
    (i64.store (i32.const 2048) (i64.add (i64.load (i32.const 2048)) (i64.const 1)))
    (global.set $counter (i64.add (global.get $counter) (i64.const 1))))
  ;; A reply of $count tokens that stand at 64.
  (func $tokens (param $count i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 64))
    (i32.store (i32.const 24) (local.get $count))
    (i32.const 16))
  (func $put (param $at i32) (param $value i64)
    (i32.store (local.get $at) (i32.const 2))
    (i64.store offset=8 (local.get $at) (local.get $value)))
  (func $integer (param $value i64) (result i32) (call $put (i32.const 64) (local.get $value)) (call $tokens (i32.const 1)))
  (func $array (param $count i32)
    (i32.store (i32.const 64) (i32.const 9))
    (i32.store (i32.const 72) (local.get $count)))

  ;; The counter twice, and the ticks that came to their end.
  (func $get (result i32)
    (call $array (i32.const 3))
    (call $put (i32.const 80) (i64.load (i32.const 2048)))
    (call $put (i32.const 96) (global.get $counter))
    (call $put (i32.const 112) (i64.load (i32.const 2056)))
    (call $tokens (i32.const 4)))
  ;; What it was told while it was instantiated.
  (func $seen (result i32)
    (call $array (i32.const 2))
    (call $put (i32.const 80) (i64.load (i32.const 2064)))
    (call $put (i32.const 96) (i64.load (i32.const 2072)))
    (call $tokens (i32.const 3)))

  (func (export "uhaha:machine/handler@0.1.0#handle") (param $command i32) (param $args i32) (param i32) (result i32)
    (global.set $top (i32.const 65536))
    (if (i32.eq (local.get $command) (i32.const 1)) (then (return (call $get))))
    (if (i32.eq (local.get $command) (i32.const 9)) (then (return (call $seen))))
    (call $add)
    (if (i32.or (i32.eq (local.get $command) (i32.const 2)) (i32.eq (local.get $command) (i32.const 4))) (then
      (call $write (i32.const 0) (i32.const 8))))
    (if (i32.or (i32.eq (local.get $command) (i32.const 3)) (i32.eq (local.get $command) (i32.const 5))) (then
      (call $read (i32.const 8) (i32.const 512))))
    ;; One more than what may be asked for.
    (if (i32.eq (local.get $command) (i32.const 6)) (then (call $random-bytes (i32.const 0x100001) (i32.const 512))))
    (if (i32.eq (local.get $command) (i32.const 8)) (then (global.set $late (i32.const 1))))
    (if (i32.eq (local.get $command) (i32.const 10)) (then
      (global.set $mode (i32.sub (i32.load8_u (i32.load (local.get $args))) (i32.const 48)))))
    (call $integer (i64.load (i32.const 2048))))
  ;; The reply has been taken.
  (func (export "cabi_post_uhaha:machine/handler@0.1.0#handle") (param i32)
    (if (global.get $late) (then (drop (call $random)))))

  (func $down (param $depth i64) (result i64)
    (i64.add (call $down (i64.add (local.get $depth) (i64.const 1))) (i64.load (i32.const 2048))))
  (func (export "uhaha:machine/ticker@0.1.0#tick") (result i32)
    (i64.store (i32.const 2056) (i64.add (i64.load (i32.const 2056)) (i64.const 1)))
    (if (global.get $mode) (then (call $add)))
    (if (i32.eq (global.get $mode) (i32.const 1)) (then unreachable))
    (if (i32.eq (global.get $mode) (i32.const 2)) (then (loop $for-ever (br $for-ever))))
    (if (i32.eq (global.get $mode) (i32.const 3)) (then
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable))
    (if (i32.eq (global.get $mode) (i32.const 4)) (then (drop (call $down (i64.const 0)))))
    (if (i32.eq (global.get $mode) (i32.const 5)) (then (call $write (i32.const 0) (i32.const 8))))
    (i32.const 0))
)
