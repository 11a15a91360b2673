//! The launch contract in SLURM's variables.

use super::env::{Launch, LaunchError, LaunchedBy, Place, Rendezvous, secret};
use super::variables::{Variables, below, check_world_size, invalid, parse_number, parse_port};

/// What `srun` sets for each task it starts, and the shell of a job does not have.
const STEP: [&str; 2] = ["SLURM_STEP_ID", "SLURM_STEPID"];

/// SLURM tells every task its place; the meeting point follows from what all tasks of the job know.
pub(super) fn launch(vars: &Variables<'_>) -> Result<Option<Launch>, LaunchError> {
    let Some(step) = vars.first_of(&STEP) else {
        return outside_srun(vars);
    };
    let present = vars.first_set(&["SLURM_PROCID"]);
    let Some((tasks, world_size)) = world_size(vars, present)? else {
        return Ok(None);
    };
    let rank = vars.number("SLURM_PROCID", step)?;
    below("SLURM_PROCID", rank, tasks, world_size)?;
    if world_size == 1 {
        return Ok(None);
    }
    check_world_size(tasks, world_size)?;
    let present = "SLURM_PROCID";
    let local_rank = vars.number("SLURM_LOCALID", present)?;
    let (tasks_here, local_world_size) =
        tasks_on_this_node(vars, world_size)?.unwrap_or((tasks, world_size));
    below("SLURM_LOCALID", local_rank, tasks_here, local_world_size)?;
    let place = Place {
        rank,
        world_size,
        local_rank,
        local_world_size,
    };
    let (host_variable, host) = slurm_host(vars, present)?;
    let rendezvous = Rendezvous {
        host,
        host_variable,
        port: slurm_port(vars)?,
        rank_0_serves: true,
        prefix: String::new(),
        secret: secret(vars),
        launched_by: LaunchedBy::Slurm,
    };
    Ok(Some(Launch { place, rendezvous }))
}

/// How many tasks the step has, and the variable that says so; `None` where neither it nor `present` is there.
fn world_size(
    vars: &Variables<'_>,
    present: Option<&'static str>,
) -> Result<Option<(&'static str, usize)>, LaunchError> {
    const VARIABLES: [&str; 2] = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];
    match (vars.first_of(&VARIABLES), present) {
        (Some(variable), present) => {
            let tasks = vars.number(variable, variable)?;
            Ok(Some((variable, tasks)).filter(|_| tasks != 1 || present.is_some()))
        }
        (None, Some(present)) => Ok(Some((
            "SLURM_NTASKS",
            vars.number("SLURM_NTASKS", present)?,
        ))),
        (None, None) => Ok(None),
    }
}

/// The shell of a job (`sbatch`, `salloc`) knows the tasks of the job and is none of them: a process that it starts
/// without `srun` would wait for ranks that nobody starts.
fn outside_srun(vars: &Variables<'_>) -> Result<Option<Launch>, LaunchError> {
    if vars.first_of(&["SLURM_JOB_ID", "SLURM_PROCID"]).is_none() {
        return Ok(None);
    }
    let number = |variable: &'static str| match vars.get(variable) {
        Some(value) => parse_number(variable, &value).map(Some),
        None => Ok(None),
    };
    let tasks = match (number("SLURM_NTASKS")?, number("SLURM_NTASKS_PER_NODE")?) {
        (Some(tasks), _) => tasks,
        (None, Some(per_node)) => {
            per_node.saturating_mul(number("SLURM_JOB_NUM_NODES")?.unwrap_or(1))
        }
        (None, None) => 1,
    };
    if tasks > 1 {
        return Err(LaunchError::NoSrun { tasks });
    }
    Ok(None)
}

/// `SLURM_STEP_TASKS_PER_NODE` counts tasks by node in the order of the node list: `2(x3),1`. The count for this node, and
/// the variable that has it; `None` where there is none.
fn tasks_on_this_node(
    vars: &Variables<'_>,
    world_size: usize,
) -> Result<Option<(&'static str, usize)>, LaunchError> {
    const VARIABLES: [&str; 2] = ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"];
    let Some(variable) = vars.first_of(&VARIABLES) else {
        return Ok(None);
    };
    let text = vars.get(variable).unwrap_or_default();
    let node = match vars.get("SLURM_NODEID") {
        Some(value) => parse_number("SLURM_NODEID", &value)?,
        None => 0,
    };
    let mut counts = Vec::new();
    for group in text.split(',') {
        let (count, times) = match group.split_once("(x") {
            Some((count, times)) => (count, times.trim_end_matches(')')),
            None => (group, "1"),
        };
        let number = |part: &str| {
            parse_number(variable, part)
                .map_err(|_| invalid(variable, &text, "a count of tasks for every node: 2(x3),1"))
        };
        let (count, times) = (number(count)?, number(times)?);
        counts.extend(std::iter::repeat_n(count, times.min(world_size)));
    }
    let count = counts.get(node).map(|&count| Some((variable, count)));
    count.ok_or_else(|| invalid(variable, &text, "a count of tasks for every node"))
}

/// Where rank 0 is, and the variable that says so.
fn slurm_host(
    vars: &Variables<'_>,
    present: &'static str,
) -> Result<(&'static str, String), LaunchError> {
    const LISTS: [&str; 3] = [
        "SLURM_STEP_NODELIST",
        "SLURM_JOB_NODELIST",
        "SLURM_NODELIST",
    ];
    if let Some(host) = vars.get("MASTER_ADDR") {
        return Ok(("MASTER_ADDR", host));
    }
    let missing = LaunchError::Missing {
        present,
        missing: "SLURM_JOB_NODELIST",
    };
    let variable = vars.first_of(&LISTS).ok_or(missing)?;
    let list = vars.get(variable).unwrap_or_default();
    let host = first_host(&list).map(|host| (variable, host));
    host.ok_or_else(|| invalid(variable, &list, "a node list such as gpu[01-04]"))
}

/// `gpu[01-04,7],cpu3` → `gpu01`.
fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list;
    while let Some(at) = rest.find(['[', ',']) {
        host.push_str(&rest[..at]);
        if rest[at..].starts_with(',') {
            rest = "";
            break;
        }
        let (range, after) = rest[at + 1..].split_once(']')?;
        let first = range.split(['-', ',']).next()?;
        host.push_str(first);
        rest = after;
    }
    host.push_str(rest);
    (!host.is_empty()).then_some(host)
}

/// Jobs that share a host meet at different ports, since their numbers differ.
fn slurm_port(vars: &Variables<'_>) -> Result<u16, LaunchError> {
    const FIRST: usize = 15_000;
    const COUNT: usize = 15_000;
    if let Some(port) = vars.get("MASTER_PORT") {
        return parse_port("MASTER_PORT", port);
    }
    let job = match vars.get("SLURM_JOB_ID") {
        Some(value) => parse_number("SLURM_JOB_ID", &value)?,
        None => 0,
    };
    let port = FIRST + job % COUNT;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_node_list() {
        let hosts = ["n1", "n1,n2", "n[3-5],x", "rack[2,4]n[01-16]-ib", "n[9]"];
        let first: Vec<_> = hosts.iter().map(|list| first_host(list).unwrap()).collect();
        assert_eq!(first, ["n1", "n1", "n3", "rack2n01-ib", "n9"]);
        assert_eq!(first_host("n[3"), None);
    }
}
