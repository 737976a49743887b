//! Settings, data keys, remembered requests, and the commands on them.

use super::field::{request_id, time};
use super::{DecodeError, Stored, wire};
use crate::command::{AddDataKey, RemoveDataKey, SetSetting};
use crate::record::{DataKey, SettingRecord};
use crate::state::RequestRecord;

impl Stored for SettingRecord {
    type Message = wire::Setting;

    fn to_message(&self) -> wire::Setting {
        wire::Setting {
            key: self.key.to_string(),
            value: self.value.clone(),
        }
    }

    fn from_message(setting: wire::Setting) -> Result<Self, DecodeError> {
        Ok(Self {
            key: setting.key.into(),
            value: setting.value,
        })
    }
}

impl Stored for DataKey {
    type Message = wire::DataKey;

    fn to_message(&self) -> wire::DataKey {
        wire::DataKey {
            id: self.id,
            wrapped: self.wrapped.clone(),
        }
    }

    fn from_message(key: wire::DataKey) -> Result<Self, DecodeError> {
        Ok(Self {
            id: key.id,
            wrapped: key.wrapped,
        })
    }
}

impl Stored for RequestRecord {
    type Message = wire::Request;

    fn to_message(&self) -> wire::Request {
        wire::Request {
            id: self.id.as_bytes().to_vec(),
            at: self.at.as_secs(),
            outcome: self.outcome.to_vec(),
        }
    }

    fn from_message(request: wire::Request) -> Result<Self, DecodeError> {
        Ok(Self {
            id: request_id(&request.id)?,
            at: time(request.at),
            outcome: request.outcome.into(),
        })
    }
}

impl Stored for AddDataKey {
    type Message = wire::AddDataKey;

    fn to_message(&self) -> wire::AddDataKey {
        wire::AddDataKey {
            key: Some(self.key.to_message()),
        }
    }

    fn from_message(command: wire::AddDataKey) -> Result<Self, DecodeError> {
        let key = command.key.ok_or(DecodeError::Field("data key"))?;
        Ok(Self {
            key: Stored::from_message(key)?,
        })
    }
}

impl Stored for RemoveDataKey {
    type Message = wire::RemoveDataKey;

    fn to_message(&self) -> wire::RemoveDataKey {
        wire::RemoveDataKey { id: self.id }
    }

    fn from_message(command: wire::RemoveDataKey) -> Result<Self, DecodeError> {
        Ok(Self { id: command.id })
    }
}

impl Stored for SetSetting {
    type Message = wire::SetSetting;

    fn to_message(&self) -> wire::SetSetting {
        wire::SetSetting {
            key: self.key.to_string(),
            value: self.value.clone(),
            only_if_absent: self.only_if_absent,
        }
    }

    fn from_message(command: wire::SetSetting) -> Result<Self, DecodeError> {
        Ok(Self {
            key: command.key.into(),
            value: command.value,
            only_if_absent: command.only_if_absent,
        })
    }
}

#[cfg(feature = "next-format")]
impl Stored for crate::command::SetNote {
    type Message = wire::SetNote;

    fn to_message(&self) -> wire::SetNote {
        wire::SetNote {
            text: self.text.to_string(),
        }
    }

    fn from_message(command: wire::SetNote) -> Result<Self, DecodeError> {
        Ok(Self {
            text: command.text.into(),
        })
    }
}
