"""The public names: what code that uses agentws may import, module by module.

Every other module and name is private. Change this table on purpose only: to add a name is a
feature, to take one away breaks the code of users.
"""

from __future__ import annotations

_NAMES = {
    "agentws": """
        Agent AgentError AgentFactory AgentGateway AgentwsError AskDeclined AskExpired
        BearerKeys Bus ChatAgent Command CommandContext Forbidden Identity LLM LLMCutOff
        LLMEmpty LLMError LLMRateLimited LLMRefused LLMUnavailable Limits LocalBus
        MemoryStore NotFound Output RunContext SQLiteStore Session SessionHandle SessionInfo
        Store Tool ToolArgumentsInvalid ToolDenied ToolError Unauthenticated
        mount_agent_gateway tool
    """,
    "agentws.bus": "Bus Listener Scope",
    "agentws.client": """
        BadProxy Chat ChatClosed ConnectionChange Disconnected Error LogEvent LogReset
        MessageWithdrawn Notice OpenTransport Opening ProxySetting Refused RunCancelled
        RunFailed Timing Token Transport TransportClosed Turn Update connect
    """,
    "agentws.errors": """
        AgentError AgentwsError AlreadyAnswered AskDeclined AskExpired BadRequest Conflict
        Draining EventTooLarge Expired Fenced Forbidden IdempotencyConflict Internal
        InvalidEvent LostReason MethodNotAllowed Misdirected NotFound NotSupported
        PositionLost QueueFull ReplayDiverged RunActive StorageFull TimedOut TooLarge
        TooMany ToolArgumentsInvalid ToolDenied ToolError Unauthenticated Unavailable
        UnknownCommand UnsupportedMedia VersionConflict WrongLoop
    """,
    "agentws.events": """
        ActivityDelta ActivityMessage ActivitySnapshot AgentEvent AguiEvent AnyEvent
        AssistantMessage AudioPart CancelledOutcome Content ContentPart Context Custom
        DataSource DeveloperMessage DocumentPart Event FileSource FunctionCall GatewayEvent
        HistoryBranched HistoryCleared ImagePart Interrupt InterruptAnswered InterruptOutcome
        JsonPatch Level Message MessageAccepted MessageSteered MessageWithdrawn MessagesSnapshot
        Metadata NoticePosted Overlap Raw ReasoningEncryptedValue ReasoningEnd
        ReasoningMessage ReasoningMessageChunk ReasoningMessageContent ReasoningMessageEnd
        ReasoningMessageStart ReasoningStart ResumeEntry Role RunAgentInput RunCancelling
        RunError RunFinished RunOutcome RunStarted SessionUpdated Source StateDelta
        StateSnapshot StepFinished StepStarted SubagentError SubagentFinished
        SubagentOutcome SubagentStarted SubagentSuccess SubagentSuspended SuccessOutcome
        SystemMessage TextMessageChunk TextMessageContent TextMessageEnd TextMessageStart
        TextPart TokenUsage Tool ToolCall ToolCallArgs ToolCallChunk ToolCallEnd
        ToolCallResult ToolCallStart ToolMessage UrlSource UserMessage VideoPart text_of
    """,
    "agentws.integrations.anthropic": "AnthropicMessages",
    "agentws.integrations.openai": "OpenAIChat",
    "agentws.server": "AgentwsWebSocketProtocol Server frame_text serve server_config",
    "agentws.store": """
        GENESIS PAGE Appended Durability Head Key Lease Metadata Position Record Scope
        SessionInfo Settled Store chain extend
    """,
    "agentws.testing": """
        Call Client Closed FaultyStore Frame Gate Hang IgnoreCancel LossyBus Raise Refused
        Script ScriptedAgent Sleep SlowStore VirtualLoop WrappedStore Yield connect kind
        open_transport running virtual_run
    """,
    "agentws.testing.contracts": "BusContract StoreContract",
    "agentws.testing.fakellm": "FakeLLM Fault Finish Reply Script ScriptedLLM Turn echo words",
    "agentws.testing.laws": "NOTHING Moment Violation moments violations",
    "agentws.testing.oracle": "check_client check_log check_simple check_tags read_log",
}


PUBLIC: dict[str, set[str]] = {module: set(names.split()) for module, names in _NAMES.items()}
