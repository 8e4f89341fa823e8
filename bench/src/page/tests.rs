//! What a page holds, whatever is in the artifact: judged by its structure, never by its bytes.

use std::collections::BTreeSet;

use super::*;
use crate::account::Accounts;
use crate::artifact::{Arm, Distribution, Outcome, Run, SCHEMA};

fn source(artifact: Artifact) -> Source {
    Source { label: "monday".into(), artifact }
}

fn rendered(artifact: Artifact) -> String {
    render(&[source(artifact)], &guardrail())
}

fn guardrail() -> Guardrail {
    Guardrail::load(None).expect("sound")
}

/// The sample with nothing but these runs.
fn only(runs: Vec<Run>) -> Artifact {
    Artifact { runs, ..sample::artifact() }
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

/// The part of the page between two texts.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = page.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} behind {from:?}")).0
}

fn section<'a>(page: &'a str, id: &str) -> &'a str {
    between(page, &format!("<section id=\"{id}\">"), "</section>")
}

#[test]
fn every_protocol_has_its_curves_courses_and_tables() {
    let page = rendered(sample::artifact());
    for (protocol, curves) in [("publish", 1), ("same-pod", 3), ("cross-pod", 3), ("mixed", 3), ("peak", 1)] {
        let section = section(&page, &format!("protocol-{protocol}"));
        let courses = if curves == 3 { 6 } else { 5 };
        assert_eq!(count(section, "<figure>"), curves + courses, "{protocol}");
        assert_eq!(count(section, "<svg class=\"chart\""), count(section, "role=\"img\" aria-label=\""), "{protocol}");
        assert_eq!(count(section, "<table class=\"numbers\">"), curves + courses, "a table beside every chart");
        assert!(section.contains("relay CPU per event, µs") && section.contains("ack service p99, ms"));
        assert_eq!(section.contains("last delivery service p99, ms"), curves == 3, "{protocol}");
    }
}

#[test]
fn every_series_is_told_apart_by_its_dash_too() {
    let page = rendered(sample::artifact());
    let figure = between(section(&page, "protocol-same-pod"), "<figure>", "</figure>");
    let lines: Vec<&str> = figure.split("<path class=\"line ").skip(1).map(|line| between(line, " ", ">")).collect();
    let attribute = |line: &&str| line.split_once("stroke-dasharray=").map(|(_, dash)| dash.to_owned());
    let dashes: BTreeSet<_> = lines.iter().map(attribute).collect();
    assert_eq!((lines.len(), dashes.len()), (3, 3));
    assert!(figure.contains("<title>towpath, p99: "), "a marker tells its value");
}

#[test]
fn names_are_text_and_never_markup() {
    let evil = "<b>\"&'\u{1b}";
    let mut artifact = sample::artifact();
    artifact.arms[0] =
        Arm { name: evil.into(), command: "<script>alert(1)</script>".into(), ..artifact.arms[0].clone() };
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "towpath") {
        run.arm = evil.into();
        run.protocol = format!("{}<i>", run.protocol);
    }
    artifact.machine.kernel = "<i>".into();
    artifact.setting.insert("<i>".into(), "</style><i>".into());
    let run = &mut artifact.runs[0];
    run.outcome.as_mut().expect("an outcome").complaint = Some("</table><i>".into());
    let page = rendered(artifact.clone());
    for part in ["<b>\"", "<script", "<i>", "</style><i>", "\u{1b}"] {
        assert!(!page.contains(part), "{part:?} is in the page");
    }
    assert!(page.contains("&lt;b&gt;&quot;&amp;'"));
    let folder = tempfile::tempdir().expect("a folder");
    for file in write_charts(&[source(artifact)], &guardrail(), folder.path()).expect("written") {
        let chart = fs::read_to_string(&file).expect("a chart");
        assert!(!chart.contains("<b>") && !chart.contains("<i>") && !chart.contains('\u{1b}'), "{}", file.display());
    }
}

#[test]
fn the_page_asks_for_nothing_but_itself() {
    let page = rendered(sample::artifact());
    for part in ["http://", "https://", "//cdn", "src=", "@import", "url(", "<script", "<link", "<iframe"] {
        assert!(!page.contains(part), "{part:?} is in the page");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("prefers-color-scheme"));
}

#[test]
fn no_number_is_nonsense() {
    let mut artifact = sample::artifact();
    for outcome in artifact.runs.iter_mut().filter_map(|run| run.outcome.as_mut()) {
        outcome.figures.insert("events-per-s".into(), f64::NAN);
        outcome.figures.insert("relay-cpu-us-per-event".into(), 0.0);
        outcome.series[3].relay_cores = Some(f64::INFINITY);
    }
    let page = rendered(artifact);
    for part in ["NaN", "inf ", ">inf", "infinity"] {
        assert!(!page.contains(part), "{part:?} is in the page");
    }
}

#[test]
fn empty_latencies_leave_no_empty_chart() {
    let mut run = sample::artifact().runs.remove(0);
    run.outcome =
        Some(Outcome { latencies: [("ack".to_owned(), Distribution::default())].into(), ..Outcome::default() });
    let page = rendered(only(vec![run]));
    assert_eq!(count(section(&page, "protocol-publish"), "<figure>"), 0);
    assert!(
        rendered(Artifact { arms: Vec::new(), floors: Vec::new(), ..only(Vec::new()) })
            .contains("Nothing was measured")
    );
}

#[test]
fn runs_that_do_not_count_are_told_with_their_reason_and_not_drawn() {
    let mut runs: Vec<Run> = sample::artifact().runs.into_iter().filter(|run| run.protocol == "publish").collect();
    for run in &mut runs {
        run.outcome.as_mut().expect("an outcome").void = Some("the generator slept".into());
    }
    let page = rendered(only(runs.clone()));
    let publish = section(&page, "protocol-publish");
    assert!(count(publish, "<svg") == 0 && publish.contains("No run of this protocol counts"));
    assert_eq!(count(section(&page, "remarks"), "the generator slept"), runs.len());
    assert!(page.contains("9 of 9 runs are void or failed"));
    runs[0].outcome.as_mut().expect("an outcome").void = None;
    runs[1].outcome = None;
    runs[1].failure = Some("it did not start".into());
    let page = rendered(only(runs));
    assert!(section(&page, "protocol-publish").contains("<figure>"));
    assert!(section(&page, "remarks").contains("it did not start"));
}

#[test]
fn one_round_is_drawn_without_a_band_and_several_with_one() {
    let all = sample::artifact();
    let first = only(all.runs.iter().filter(|run| run.round == 1).cloned().collect());
    let curves =
        |page: &str| count(between(section(page, "protocol-publish"), "<figure>", "</figure>"), "class=\"band");
    let lines = |page: &str| count(between(section(page, "protocol-publish"), "<figure>", "</figure>"), "class=\"line");
    let (one, three) = (rendered(first), rendered(all));
    assert_eq!((curves(&one), lines(&one)), (0, 3));
    assert_eq!((curves(&three), lines(&three)), (3, 3));
}

#[test]
fn a_broken_promise_is_seen_at_once() {
    let page = rendered(sample::artifact());
    assert!(page.contains("✗ promises broken for 1 event<"));
    assert_eq!(count(section(&page, "accounts"), "<td class=\"broken\">✗ 1</td>"), 1);
    let mut kept = sample::artifact();
    for accounts in kept.runs.iter_mut().filter_map(|run| run.outcome.as_mut()?.accounts.as_mut()) {
        accounts.lost = 0;
    }
    let page = rendered(kept);
    assert!(page.contains("✓ every acknowledged event was accounted for") && !page.contains("class=\"broken\""));
}

/// In the accounts of the one run that there is.
fn accounts_of(accounts: Accounts) -> String {
    let mut run = sample::artifact().runs.remove(0);
    run.outcome.as_mut().expect("an outcome").accounts = Some(accounts);
    let page = rendered(only(vec![run]));
    between(section(&page, "accounts"), "<table", "</table>").to_owned()
}

#[test]
fn what_came_late_is_told_and_breaks_no_promise() {
    let table = accounts_of(Accounts { late: 3, ..Accounts::default() });
    assert!(table.contains("<th>late</th><th>unanswered</th>"), "{table}");
    assert_eq!(count(&table, "<td class=\"doubtful\">3</td>"), 1, "{table}");
    assert!(!table.contains("broken"), "{table}");
}

#[test]
fn whoever_misses_deliveries_is_told_by_number() {
    let told = |missed: &[(usize, usize)]| {
        let table = accounts_of(Accounts { missed_by: missed.iter().copied().collect(), ..Accounts::default() });
        assert!(table.contains("<th>missed by</th></tr></thead>"), "{table}");
        let (_, last) = table.trim_end_matches("</td></tr></tbody>").rsplit_once("<td>").expect("a last cell");
        last.to_owned()
    };
    assert_eq!(told(&[]), "–");
    assert_eq!(told(&[(3, 2), (7, 1)]), "#3: 2, #7: 1");
    let many: Vec<(usize, usize)> = (0..9).map(|subscriber| (subscriber, 1 + subscriber / 8)).collect();
    assert_eq!(told(&many), "#8: 2, #0: 1, #1: 1, #2: 1, #3: 1, …");
}

#[test]
fn all_measures_have_every_percentile_that_an_artifact_sums_up() {
    let page = rendered(sample::artifact());
    let section = section(&page, "protocol-same-pod");
    for latency in ["ack", "ack service", "first delivery", "last delivery service", "generator lag"] {
        for percentile in ["p50", "p90", "p99", "p99.9", "max"] {
            let row = format!("<th scope=\"row\">{latency} {percentile}, ms</th>");
            assert_eq!(count(section, &row), 1, "{row}");
        }
    }
}

#[test]
fn several_artifacts_stand_side_by_side() {
    let sources = [source(sample::artifact()), Source { label: "tuesday".into(), artifact: sample::artifact() }];
    let page = render(&sources, &guardrail());
    let figure = between(section(&page, "protocol-publish"), "<figure>", "</figure>");
    assert_eq!(count(figure, "class=\"line"), 6);
    assert!(figure.contains("towpath · monday") && figure.contains("towpath · tuesday"));
}

#[test]
fn a_curve_holds_what_the_histograms_hold() {
    let mut runs: Vec<Run> = sample::artifact().runs.into_iter().filter(|run| run.protocol == "publish").collect();
    runs.truncate(1);
    let micros = (1..=1_000).map(f64::from);
    let outcome = runs[0].outcome.as_mut().expect("an outcome");
    outcome.latencies = [("ack".to_owned(), sample::distribution(micros))].into();
    let check = |artifact: Artifact| {
        let page = rendered(artifact);
        let table =
            between(between(section(&page, "protocol-publish"), "<figure>", "</figure>"), "<tbody>", "</tbody>");
        let cells: Vec<&str> = table.split("<td>").skip(1).map(|cell| cell.split('<').next().expect("text")).collect();
        assert_eq!(cells, ["0.50", "0.90", "0.99", "1.00", "1.00"]);
    };
    check(only(runs.clone()));
    let ack = runs[0].outcome.as_mut().and_then(|outcome| outcome.latencies.get_mut("ack")).expect("an ack");
    ack.histogram = "not a histogram".into();
    check(only(runs));
}

#[test]
fn a_page_and_its_charts_are_written_from_a_run_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("2026-01-01");
    fs::create_dir(&run).expect("made");
    fs::write(run.join(ARTIFACT), serde_json::to_string(&sample::artifact()).expect("JSON")).expect("written");
    let svg = folder.path().join("svg");
    report(&Options { paths: vec![run.clone()], out: None, svg: Some(svg.clone()), guardrail: None })
        .expect("rendered");
    let page = fs::read_to_string(run.join(PAGE)).expect("a page");
    assert!(page.contains("towpath"));
    let chart = fs::read_to_string(svg.join("same-pod-ack.svg")).expect("a chart");
    assert!(chart.starts_with("<svg") && chart.contains("xmlns=") && chart.contains("same-pod: ack latency"));
    assert_eq!(fs::read_dir(&svg).expect("a folder").count(), 3 * 9 + 2 * 6);
}

#[test]
fn what_an_early_version_left_can_be_looked_at() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/early.json");
    let page = render(&[read(&file).expect("an artifact")], &guardrail());
    let curve = between(section(&page, "protocol-publish-quiet"), "<figure>", "</figure>");
    assert!(curve.contains("<path class=\"line ") && curve.contains("<td>0.29</td>"), "{curve}");
    assert!(page.contains("✓ every acknowledged event was accounted for"));
    let send = between(section(&page, "floors"), "processor time of one send", "</tr>");
    assert_eq!(count(send, "<td>–</td>"), 2);
}

#[test]
fn an_artifact_of_a_later_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("later.json");
    let later = Artifact { schema: SCHEMA + 1, ..sample::artifact() };
    fs::write(&file, serde_json::to_string(&later).expect("JSON")).expect("written");
    assert!(format!("{:#}", read(&file).expect_err("refused")).contains("schema 2"));
    fs::write(&file, "{}").expect("written");
    assert!(format!("{:#}", read(&file).expect_err("refused")).contains("is no artifact"));
}

#[test]
fn a_session_of_two_arms_is_judged_on_its_page() {
    let page = rendered(sample::session());
    let verdict = section(&page, "verdict");
    let rows = verdict.matches("<tr>").count() - 1;
    let guardrail = guardrail();
    let endings = 3;
    assert_eq!(rows, guardrail.measures.len() + guardrail.promises.len() + endings);
    assert!(verdict.contains("✓ PASS") && verdict.contains("✗ FAIL"), "{verdict}");
    assert_eq!(count(verdict, "<svg class=\"interval\""), guardrail.measures.len());
    assert!(between(&page, "<ul class=\"standing\">", "</ul>").contains("✗ FAIL: "));
    let rivals = rendered(sample::artifact());
    assert!(!rivals.contains("id=\"verdict\""), "three rivals are no session of A and B");
}

#[test]
fn what_the_judgement_finds_void_is_not_drawn_either() {
    let mut session = sample::session();
    let run =
        session.runs.iter_mut().find(|run| run.protocol == "publish" && run.arm == "towpath-main").expect("a run");
    run.outcome.as_mut().expect("an outcome").series[4].sent = 10;
    run.outcome.as_mut().expect("an outcome").series[5].sent = 1_990;
    let page = rendered(session);
    assert_eq!(count(section(&page, "remarks"), "the generator lost its pace"), 1);
    assert!(page.contains("1 of 80 runs are void"));
}

#[test]
fn what_the_judgement_finds_void_is_in_no_file_of_a_chart() {
    let mut session = sample::session();
    for run in session.runs.iter_mut().filter(|run| run.protocol == "publish" && run.arm == "towpath-main") {
        let series = &mut run.outcome.as_mut().expect("an outcome").series;
        (series[4].sent, series[5].sent) = (10, 1_990);
    }
    let folder = tempfile::tempdir().expect("a folder");
    write_charts(&[source(session)], &guardrail(), folder.path()).expect("written");
    let chart = fs::read_to_string(folder.path().join("publish-ack.svg")).expect("a chart");
    assert!(chart.contains("towpath-branch") && !chart.contains("towpath-main"));
}

/// One measure, where the limits that ship with the programme have more.
#[test]
fn a_page_judges_by_what_the_session_was_judged_by() {
    let own = r#"
confidence = 0.95
rounds-min = 6
promise = []

[[measure]]
name = "own"
protocol = "peak"
figure = "events-per-s"
better = "higher"
margin = 0.0
floor = 0.0
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(ARTIFACT);
    let session = Artifact { guardrail: Some(own.into()), ..sample::session() };
    fs::write(&file, serde_json::to_string(&session).expect("JSON")).expect("written");
    report(&Options { paths: vec![file], out: None, svg: None, guardrail: None }).expect("rendered");
    let page = fs::read_to_string(folder.path().join(PAGE)).expect("a page");
    assert_eq!(count(section(&page, "verdict"), "<svg class=\"interval\""), 1);
    assert!(section(&page, "verdict").contains("peak: own"));
    let mut earlier = serde_json::to_value(&session).expect("JSON");
    earlier.as_object_mut().expect("an object").remove("guardrail");
    let earlier: Artifact = serde_json::from_value(earlier).expect("an earlier artifact can be read");
    assert_eq!(Guardrail::of(&earlier, None).expect("sound").measures.len(), guardrail().measures.len());
}

#[test]
fn a_session_that_cannot_be_judged_says_why() {
    let mut session = sample::session();
    session.runs[0].outcome.as_mut().expect("an outcome").latencies.get_mut("ack").expect("an ack").p50 += 99.0;
    let page = rendered(session);
    assert!(section(&page, "verdict").contains("There is none: the artifact is damaged: round 1"));
    assert!(section(&page, "protocol-publish").contains("<figure>"));
}

#[test]
fn a_sweep_is_drawn_by_rate_and_never_as_rounds() {
    let page = rendered(sample::sweep());
    let sweep = section(&page, "protocol-sweep");
    assert!(sweep.contains("ack p99 by rate"));
    assert!(!sweep.contains("All measures") && !sweep.contains("percentile"));
    let table = between(sweep, "<table class=\"numbers\">", "</table>");
    assert_eq!((count(table, "<th>") - 1, count(table, "<tbody><tr>")), (6, 1), "the void rate is no column");
    assert_eq!(count(section(&page, "remarks"), "16\u{202f}000 events/s"), 2);
}

/// For whoever changes the page: `TOWPATH_PAGE_SAMPLE=FOLDER` keeps a sample there to look at.
#[test]
fn samples_can_be_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = std::env::var_os("TOWPATH_PAGE_SAMPLE").map_or_else(|| folder.path().to_owned(), PathBuf::from);
    for (name, artifact) in [("rivals", sample::artifact()), ("session", sample::session()), ("sweep", sample::sweep())]
    {
        let folder = kept.join(name);
        write_charts(&[source(artifact.clone())], &guardrail(), &folder).expect("written");
        assert!(write_one(&artifact, &guardrail(), &folder).expect("written").exists());
    }
}
