//! The documented file and the file in force, both printed from the table of settings.

use super::place::Place;
use super::setting::{Reload, Section, Setting};
use super::{Config, Resolved};

const COLUMNS: usize = 100;

const HEADER: &str = "\
# Towpath: every key with its default and the reason for it.
#
# Keep only the lines you change: a key that is not in the file has its default. An environment
# variable wins over the file, a flag over both; in a variable a list is written with commas,
# 4,1059 for [4, 1059]. A key marked `reloadable` is taken by a running relay on SIGHUP; the others
# wait for the next start. `towpath config check` finds mistakes, and files that are not there.
";

pub(super) fn example() -> String {
    let config = Config::default();
    let mut text = HEADER.to_owned();
    for section in Config::sections() {
        text.push('\n');
        comment(&mut text, section.what);
        text.push_str(&format!("[{}]\n", section.name));
        for setting in section.settings {
            text.push('\n');
            comment(&mut text, setting.what);
            comment(&mut text, &format!("Why: {}", setting.why));
            let mark = if setting.reload == Reload::Live { " (reloadable)" } else { "" };
            comment(&mut text, &format!("{}{mark}", setting.variable()));
            text.push_str(&format!("{} = {}\n", setting.key, setting.value(&config)));
        }
    }
    text
}

/// A comment, broken at spaces.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// A value without the password that it may carry. It rather hides too much than leave a part of one that holds an `@`.
fn without_password(value: &str) -> String {
    let is_server = value.starts_with("\"postgres") || value.starts_with("\"redis");
    let Some((scheme, rest)) = value.split_once("://").filter(|_| is_server) else { return value.to_owned() };
    let login = rest.rsplit_once('@').and_then(|(login, place)| Some((login.split_once(':')?.0, place)));
    let shown = login.map_or_else(|| rest.to_owned(), |(user, place)| format!("{user}:***@{place}"));
    let Some((before, secret)) = shown.split_once("password=") else { return format!("{scheme}://{shown}") };
    let behind = secret.find(['&', '"']).map_or("", |end| &secret[end..]);
    format!("{scheme}://{before}password=***{behind}")
}

impl Resolved {
    /// The configuration in force as TOML, each value that somebody set with its place. It reads back, but for passwords in URLs.
    pub fn show(&self) -> String {
        let sections: Vec<String> = Config::sections().iter().map(|section| self.show_section(section)).collect();
        sections.join("\n")
    }

    fn show_section(&self, section: &Section) -> String {
        let mut text = format!("[{}]\n", section.name);
        for setting in section.settings {
            text.push_str(&self.show_setting(setting));
        }
        text
    }

    fn show_setting(&self, setting: &Setting) -> String {
        let value = without_password(&setting.value(&self.config));
        match self.place(&setting.path()) {
            Place::Default => format!("{} = {value}\n", setting.key),
            place => format!("{} = {value} # {place}\n", setting.key),
        }
    }
}
