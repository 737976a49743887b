//! Commands on settings and on the ring of data keys.

use std::sync::Arc;

use crate::change::ChangeKind;
use crate::command::{AddDataKey, RemoveDataKey, SetSetting, SetSettingOutcome};
use crate::record::SettingRecord;
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn add_data_key(&mut self, command: &AddDataKey, journal: &mut Journal) -> bool {
        if self.data_keys.record(&command.key.id).is_some() {
            return false;
        }
        let key = Arc::new(command.key.clone());
        self.data_keys.put(key.id, key, journal);
        true
    }

    pub(super) fn set_setting(
        &mut self,
        command: &SetSetting,
        journal: &mut Journal,
    ) -> SetSettingOutcome {
        if command.only_if_absent
            && let Some(present) = self.settings.record(&command.key)
        {
            return SetSettingOutcome::Present(present.value.clone());
        }
        let setting = SettingRecord {
            key: command.key.clone(),
            value: command.value.clone(),
        };
        self.settings
            .put(command.key.clone(), Arc::new(setting), journal);
        journal.change(ChangeKind::Setting {
            key: command.key.clone(),
        });
        SetSettingOutcome::Set
    }

    #[cfg(feature = "next-format")]
    pub(super) fn set_note(
        &mut self,
        command: &crate::command::SetNote,
        journal: &mut Journal,
    ) -> Box<str> {
        let before = self.setting("note").unwrap_or_default();
        let before = String::from_utf8_lossy(before).into();
        let note = SetSetting {
            key: "note".into(),
            value: command.text.as_bytes().to_vec(),
            only_if_absent: false,
        };
        self.set_setting(&note, journal);
        before
    }

    pub(super) fn remove_data_key(
        &mut self,
        command: RemoveDataKey,
        journal: &mut Journal,
    ) -> bool {
        let id = command.id;
        let is_newest = self.data_keys.last_key() == Some(&id);
        if is_newest || self.is_sealed_with(id) {
            return false;
        }
        self.data_keys.remove(&id, journal).is_some()
    }
}
