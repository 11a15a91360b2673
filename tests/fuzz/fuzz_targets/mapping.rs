//! Any bytes as a mapping over a table that is fine: a conversion or a reason. The environment holds `$HOME` and `$X`.

#![no_main]

use libfuzzer_sys::fuzz_target;

include!("../program.rs");
#[path = "../conversion.rs"]
mod conversion;

const TABLE: &str = "\
a,b,c,day,clock,week,ok,y
1,x,7,2024-04-30,08:00,2024-W04,true,0
2.5,y,7.0,2024-05-01,09:30:15,2024-W05,false,1
-3,,9007199254740993,2024-05-01T12:00+02:00,10:00,2024-W06,true,1
1e3,\"x, y\",0,2024-05-02 00:00,23:59:59.5,2024-W07,false,0
nan,z,-1,2024-06-01,00:00,2024-W08,true,1
,x,12,2024-06-02,12:00,2024-W09,false,0
0.1,ä,3,2025-01-01,13:00,2025-W01,true,1
7,x,3,2025-01-02,14:00,2025-W02,false,0
";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let environment = |name: &str| match name {
        "HOME" => Some("/home/x".to_owned()),
        "X" => Some("[a, c]".to_owned()),
        _ => None,
    };
    match config::parse_with(text, &environment) {
        Ok(mapping) => conversion::check(&mapping, TABLE.as_bytes()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
