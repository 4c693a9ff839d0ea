;; A guest for tests. What it does depends on the third byte of an event's JSON,
;; the first of its first key: {"d…" drops it, {"l…" loops for ever, {"t…" traps,
;; {"g…" asks for memory until it gets none and then traps, {"x…" answers with what
;; is no answer, {"o…" points outside its memory; anything else is echoed.
;; wat2wasm guest.wat -o guest.wasm
(module
  (memory (export "memory") 2)
  (data (i32.const 0) "nullnonsense")
  (func (export "alloc") (param $size i32) (result i32)
    (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $key i32)
    (local.set $key (i32.load8_u offset=2 (local.get $ptr)))
    (if (i32.eq (local.get $key) (i32.const 100)) ;; d
      (then (return (i64.const 4))))
    (if (i32.eq (local.get $key) (i32.const 108)) ;; l
      (then (loop $again (br $again))))
    (if (i32.eq (local.get $key) (i32.const 116)) ;; t
      (then (unreachable)))
    (if (i32.eq (local.get $key) (i32.const 103)) ;; g
      (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)))
    (if (i32.eq (local.get $key) (i32.const 120)) ;; x
      (then (return (i64.const 0x400000008))))
    (if (i32.eq (local.get $key) (i32.const 111)) ;; o
      (then (return (i64.const 0x7fffffff00000010))))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len)))))
