//! What an error of librdkafka means: its [`Kind`], and what a person can do about it.
//!
//! Source of truth for the translation. Transactions have more to go by (fatal, abortable) and use
//! [`transaction_kind`]; everything else goes by the code alone.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{Error, Kind};

/// An error of the kind that `cause` has, with librdkafka's words as the cause.
pub(super) fn error(doing: impl Into<String>, cause: KafkaError) -> Error {
    let code = code_of(&cause);
    let kind = match (&cause, code) {
        (KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_), _) => Kind::Refused,
        (_, Some(code)) => kind_of(code),
        (_, None) => Kind::Internal,
    };
    advised(Error::new(kind, doing).because(cause), code)
}

/// As [`error`], for what is asked of the cluster at these addresses: whoever looks for a broker that is away needs to know
/// where it was looked for.
pub(super) fn error_at(at: &str, doing: impl Into<String>, cause: KafkaError) -> Error {
    let doing = doing.into();
    let away = code_of(&cause).is_some_and(|code| kind_of(code) == Kind::BrokerAway);
    error(if away { placed(at, &doing) } else { doing }, cause)
}

/// What was being done, and where.
pub(super) fn placed(at: &str, doing: &str) -> String {
    format!("Kafka at {at}: {doing}")
}

/// Adds what a person can do about an error with this code, if anything is known.
pub(super) fn advised(error: Error, code: Option<Code>) -> Error {
    match code.and_then(advice_for) {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

/// The code inside an error, also where rdkafka's own accessor does not give it.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) | KafkaError::MessageConsumptionFatal(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// What a code means outside of a transaction.
pub(super) fn kind_of(code: Code) -> Kind {
    match code {
        code if is_fencing(code) => Kind::Fenced,
        code if is_stale_group(code) => Kind::AbortRequired,
        code if is_refusal(code) => Kind::Refused,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Kind::NotFound,
        Code::BadMessage | Code::InvalidMessage | Code::BadCompression => Kind::Corrupt,
        Code::State | Code::InvalidArgument | Code::Conflict | Code::NotConfigured => Kind::Internal,
        // Everything else has its cause in brokers or network, and goes away with it.
        _ => Kind::BrokerAway,
    }
}

/// What an error of a transactional call means. `fatal`: the client is dead. `abort`: the transaction is.
pub(super) fn transaction_kind(code: Code, fatal: bool, abort: bool) -> Kind {
    match (is_refusal(code), fatal || is_fencing(code), abort || is_stale_group(code)) {
        (true, ..) => Kind::Refused,
        (_, true, _) => Kind::Fenced,
        (_, _, true) => Kind::AbortRequired,
        _ => kind_of(code),
    }
}

fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::TransactionCoordinatorFenced
            | Code::InvalidProducerIdMapping
            | Code::Fatal
    )
}

fn is_stale_group(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::FencedInstanceId
            | Code::RebalanceInProgress
            | Code::AssignmentLost
    )
}

/// Whether a coordinator is about to come or to go: who asks again soon has an answer.
pub(super) fn is_moving(code: Code) -> bool {
    matches!(code, Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator)
}

/// What no retry helps against: permission, size, definition.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidConfig
            | Code::InvalidTransactionTimeout
            | Code::InvalidSessionTimeout
            | Code::InvalidGroupId
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InconsistentGroupProtocol
            | Code::GroupMaxSizeReached
            | Code::PolicyViolation
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
    )
}

fn advice_for(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => "give this user READ, WRITE and DESCRIBE on the topic",
        Code::GroupAuthorizationFailed => "give this user READ and DESCRIBE on the group",
        Code::TransactionalIdAuthorizationFailed => "give this user WRITE and DESCRIBE on the transactional id",
        Code::ClusterAuthorizationFailed => "give this user CREATE and IDEMPOTENT_WRITE on the cluster",
        Code::SaslAuthenticationFailed | Code::Authentication | Code::UnsupportedSASLMechanism => {
            "check the sasl.* settings under [broker.client]"
        }
        Code::SSL => "check the ssl.* settings under [broker.client]",
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "raise max.message.bytes of the topic, or lower batch.size under [broker.client] if records are small"
        }
        Code::InvalidReplicationFactor => "lower the replication factor or add brokers",
        Code::InvalidTransactionTimeout => "the broker's transaction.max.timeout.ms is lower",
        Code::InvalidSessionTimeout => "the broker's group.min/max.session.timeout.ms do not allow it",
        Code::InconsistentGroupProtocol => {
            "another program uses this group id with other settings: choose another application name"
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "create the topic, or correct its name"
        }
        Code::FencedInstanceId => "two processes run with the same static member id: give each its own instance name",
        code if is_fencing(code) => "another process uses the same identity: each instance needs its own name",
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            "is the broker running, and is bootstrap_servers right?"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_by_the_reaction_they_demand() {
        assert_eq!(kind_of(Code::AllBrokersDown), Kind::BrokerAway);
        assert_eq!(kind_of(Code::NotLeaderForPartition), Kind::BrokerAway);
        assert_eq!(kind_of(Code::IllegalGeneration), Kind::AbortRequired);
        assert_eq!(kind_of(Code::InvalidProducerEpoch), Kind::Fenced);
        assert_eq!(kind_of(Code::TopicAuthorizationFailed), Kind::Refused);
        assert_eq!(kind_of(Code::UnknownTopicOrPartition), Kind::NotFound);
    }

    #[test]
    fn a_coordinator_that_moves_is_told_from_other_trouble() {
        let moving = |code| code_of(&KafkaError::GroupListFetch(code)).is_some_and(is_moving);
        assert!(
            [Code::CoordinatorLoadInProgress, Code::CoordinatorNotAvailable, Code::NotCoordinator]
                .map(moving)
                .iter()
                .all(|m| *m)
        );
        assert!(!moving(Code::AllBrokersDown) && !moving(Code::GroupAuthorizationFailed));
    }

    #[test]
    fn a_fatal_transaction_is_fenced_unless_a_person_must_act() {
        assert_eq!(transaction_kind(Code::OutOfOrderSequenceNumber, true, false), Kind::Fenced);
        assert_eq!(transaction_kind(Code::TransactionalIdAuthorizationFailed, true, false), Kind::Refused);
        assert_eq!(transaction_kind(Code::OperationTimedOut, false, false), Kind::BrokerAway);
        assert_eq!(transaction_kind(Code::MessageTimedOut, false, true), Kind::AbortRequired);
        assert_eq!(transaction_kind(Code::MessageSizeTooLarge, false, true), Kind::Refused);
    }

    #[test]
    fn a_broker_that_is_away_is_told_with_its_address() {
        let text = |code| error_at("kafka-7:9092", "asking", KafkaError::MetadataFetch(code)).to_string();
        assert!(text(Code::AllBrokersDown).contains("kafka-7:9092"), "{}", text(Code::AllBrokersDown));
        assert!(!text(Code::TopicAuthorizationFailed).contains("kafka-7:9092"));
    }

    #[test]
    fn the_words_of_librdkafka_and_the_way_out_are_in_the_message() {
        let text =
            error("reading orders[3]", KafkaError::MessageConsumption(Code::TopicAuthorizationFailed)).to_string();
        assert!(text.contains("orders[3]") && text.contains("READ"), "{text}");
    }
}
