//! Two network namespaces, each with its own address, play two machines. Needs root on Linux; skipped elsewhere.

use std::process::Command;

use super::{Rank, assert_all_succeed, equip, free_port, wait};

/// Two namespaces with a cable between them; gone when dropped.
struct Machines {
    names: [String; 2],
}

impl Machines {
    const ADDRESSES: [&str; 2] = ["10.213.7.1", "10.213.7.2"];

    fn set_up() -> Result<Self, String> {
        let name = |number| format!("recap-{}-{number}", std::process::id());
        let machines = Self {
            names: [name(0), name(1)],
        };
        let [first, second] = &machines.names;
        ip(&["netns", "add", first])?;
        ip(&["netns", "add", second])?;
        ip(&[
            "-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
            second,
        ])?;
        for (name, address) in machines.names.iter().zip(Self::ADDRESSES) {
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &format!("{address}/24"),
                "dev",
                "cable",
            ])?;
            ip(&["-n", name, "link", "set", "cable", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(machines)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[test]
fn ranks_of_two_machines_meet() {
    let machines = match Machines::set_up() {
        Ok(machines) => machines,
        Err(reason) => {
            println!("skipped: no network namespaces here: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let start = |rank: usize| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &machines.names[rank]]);
        command.arg(std::env::current_exe().unwrap());
        let mut command = equip(command, "collectives", folder.path());
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", "2");
        command.env("LOCAL_RANK", "0").env("LOCAL_WORLD_SIZE", "1");
        command
            .env("MASTER_ADDR", Machines::ADDRESSES[0])
            .env("MASTER_PORT", &port);
        Rank {
            child: command.spawn().unwrap(),
        }
    };
    assert_all_succeed(&wait(vec![start(0), start(1)], None));
}
