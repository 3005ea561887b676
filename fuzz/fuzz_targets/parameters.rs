#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| comanda_gateway::fuzz::parameters(bytes));
