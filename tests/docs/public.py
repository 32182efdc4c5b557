"""The public names: what code that uses agentws may import, module by module.

Every other module and name is private. Change this table on purpose only: to add a name is a
feature, to take one away breaks the code of users.
"""

from __future__ import annotations

_NAMES = {
    "agentws": """
        Agent AgentError AgentFactory AgentGateway AgentwsError Attachment BearerKeys ChatAgent
        Command CommandContext DiskFileStore Identity Limits LocalBus MemoryFileStore
        MemoryStore ModelRouter mount_agent_gateway Output Router RunContext SessionContext
        SessionHandle SessionInfo SQLiteStore StateChange tool TopicHandle
    """,
    "agentws.backends.postgres": "PostgresBus PostgresStore",
    "agentws.backends.redis": "RedisBus RedisStore",
    "agentws.backends.s3": "S3FileStore",
    "agentws.bus": "GAP Bus Listener Scope",
    "agentws.client": """
        AnsweredQuestion BadProxy Chat ChatClosed ConnectionChange Disconnected Error LogEvent
        LogReset
        MessageWithdrawn Notice OpenTransport Opening Presence Present ProxySetting Refused
        RunCancelled RunFailed Subscription Timing Token TopicUpdate Transport TransportClosed
        Turn Update connect
    """,
    "agentws.errors": """
        AgentError AgentwsError AlreadyAnswered AskDeclined AskExpired BadRequest Conflict
        DelegateFailed Draining EventTooLarge Expired Fenced Forbidden IdempotencyConflict
        Internal InvalidEvent LostReason MethodNotAllowed Misconfigured Misdirected NotFound
        NotSupported
        PositionLost QueueFull QuotaExceeded ReplayDiverged RunActive StateConflict StorageFull
        TimedOut TooLarge ToolArgumentsInvalid ToolDenied ToolError TooMany TooManyAgents
        Unauthenticated Unavailable
        UnknownCommand UnsupportedMedia VersionConflict WrongLoop
    """,
    "agentws.events": """
        ActivityDelta ActivityMessage ActivitySnapshot AgentChosen AgentEvent AguiEvent AnyEvent
        AssistantMessage AudioPart CancelledOutcome Content ContentPart Context Custom
        DataSource DeveloperMessage DocumentPart Event FileSource FunctionCall GatewayEvent
        HistoryBranched HistoryCleared ImagePart Interrupt InterruptAnswered InterruptOutcome
        JsonPatch Level Message MessageAccepted MessageEdited MessagePromoted MessagesSnapshot
        MessageSteered MessageWithdrawn
        Metadata NoticePosted Overlap Raw ReasoningEncryptedValue ReasoningEnd
        ReasoningMessage ReasoningMessageChunk ReasoningMessageContent ReasoningMessageEnd
        ReasoningMessageStart ReasoningStart ResumeEntry Role RunAgentInput RunCancelling
        RunError RunFinished RunOutcome RunStarted SessionUpdated Source StateChanged
        StateDelta StateSnapshot StepFinished StepStarted SubagentError SubagentFinished
        SubagentOutcome SubagentStarted SubagentSuccess SubagentSuspended SuccessOutcome
        SystemMessage TextMessageChunk TextMessageContent TextMessageEnd TextMessageStart
        TextPart TokenUsage Tool ToolCall ToolCallArgs ToolCallChunk ToolCallEnd
        ToolCallResult ToolCallStart ToolMessage UrlSource UserMessage VideoPart text_of
    """,
    "agentws.files": "FileInfo FileStore Measure NewFile Quota Scope Usage",
    "agentws.integrations.anthropic": "AnthropicMessages",
    "agentws.integrations.openai": "OpenAIChat",
    "agentws.llm": """
        LLM LLMCutOff LLMEmpty LLMError LLMPiece LLMRateLimited LLMRefused LLMRounds
        LLMUnavailable
    """,
    "agentws.server": """
        AgentwsWebSocketProtocol Server ServerLimits frame_text serve server_config
    """,
    "agentws.store": """
        GENESIS PAGE Appended Durability Head Key Lease LeaseRenewer Loaded Metadata Node Position
        Record Scope SessionInfo Settled Store chain contains extend searchable terms_of words_of
    """,
    "agentws.testing": """
        Call Client Closed FaultyStore Frame Gate Hang IgnoreCancel LossyBus Raise Refused
        Script ScriptedAgent Sleep SlowStore VirtualLoop WrappedStore Yield connect kind
        open_transport running virtual_run
    """,
    "agentws.testing.contracts": "BusContract FileStoreContract SearchContract StoreContract",
    "agentws.testing.fakellm": """
        FakeLLM Fault Finish Reply Script ScriptedLLM ToolUse Turn echo words
    """,
    "agentws.testing.history": """
        Checked ClientHistory Seen check_history check_strangers frames_of recording
    """,
    "agentws.testing.laws": "NOTHING Moment Violation moments violations",
    "agentws.testing.oracle": "check_client check_log check_simple check_tags read_log",
    "agentws.testing.proxy": "Direction FaultProxy",
    "agentws.tools": "Tool tool",
}


PUBLIC: dict[str, set[str]] = {module: set(names.split()) for module, names in _NAMES.items()}
