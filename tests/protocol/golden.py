"""Every frame and event as it is on the wire. A change here is a change of the protocol."""

from __future__ import annotations

CLIENT = [
    '{"type":"send","id":"m1","content":"Hello"}',
    '{"type":"send","id":"m1","content":[{"type":"text","text":"Hi"}],"attachments":["file_1"],'
    '"agent":"support","overlap":"interrupt","metadata":{"a":1}}',
    '{"type":"regenerate"}',
    '{"type":"regenerate","id":"g1","message":"m1","agent":"support"}',
    '{"type":"edit","id":"m2","message":"m1","content":"Hello again"}',
    '{"type":"edit","id":"m2","message":"m1","content":[{"type":"text","text":"Hi"}],'
    '"attachments":["file_1"],"agent":"support","metadata":{"a":1}}',
    '{"type":"switch","id":"w1","branch":"br_1"}',
    '{"type":"cancel"}',
    '{"type":"cancel","id":"c1","run":"run_1","message":"m1"}',
    '{"type":"withdraw","message":"m1"}',
    '{"type":"edit_queued","message":"m1","content":"Hi","attachments":["f1"],"metadata":{"a":1}}',
    '{"type":"promote","message":"m1"}',
    '{"type":"answer","interrupt":"int_1","payload":{"ok":true}}',
    '{"type":"answer","interrupt":"int_1","status":"cancelled"}',
    '{"type":"tool_result","toolCallId":"call_1","content":"42"}',
    '{"type":"tool_result","toolCallId":"call_1","error":"not found"}',
    '{"type":"state","patch":[{"op":"add","path":"/a","value":1}]}',
    '{"type":"command","name":"help","args":"me"}',
    '{"type":"subscribe","topic":"news","after":"e.1.0123456789abcdef"}',
    '{"type":"unsubscribe","topic":"news"}',
    '{"type":"presence","id":"p1"}',
    '{"type":"presence","id":"p1","watch":true}',
    '{"type":"auth","token":"t"}',
    '{"type":"ping","id":"p1"}',
]

SERVER = [
    '{"type":"welcome","protocol":"agentws.v1","connection":"con_1","session":"ses_1",'
    '"head":"e.0.","resume":"new","agent":"agent","agents":["agent"],"heartbeat":25.0,'
    '"limits":{"maxMessageSize":65536,"maxQueued":10,"messageRate":20.0}}',
    '{"type":"welcome","protocol":"agentws.v1","connection":"con_1","session":"ses_1",'
    '"head":"e.4.0123456789abcdef","resume":"snapshot","reason":"compacted","agent":"agent",'
    '"agents":["agent","other"],"identity":"ann","heartbeat":25.0,'
    '"limits":{"maxMessageSize":65536,"maxQueued":10,"messageRate":20.0}}',
    '{"type":"accepted","reply":"m1","position":"e.1.0123456789abcdef","durability":"disk"}',
    '{"type":"accepted","position":"e.1.0123456789abcdef","durability":"process","duplicate":true}',
    '{"type":"error","code":"too_many","message":"You are sending too fast.","retryable":true,'
    '"reply":"m1","retryAfter":0.5,"expected":"less"}',
    '{"type":"error","code":"bad_request","message":"No.","retryable":false}',
    '{"type":"notice","content":"Maintenance at 22:00","level":"warning","metadata":{"a":1},'
    '"topic":"news","reply":"c1"}',
    '{"type":"subscribed","reply":"s1","topic":"news","after":"e.1.0123456789abcdef",'
    '"head":"e.2.0123456789abcdef","resume":"replay"}',
    '{"type":"subscribed","topic":"news","after":"e.0.","head":"e.9.0123456789abcdef",'
    '"resume":"snapshot","reason":"trimmed"}',
    '{"type":"unsubscribed","reply":"s1","topic":"news"}',
    '{"type":"presence","connections":3,"members":[{"id":"ada","connections":2}],"reply":"p1"}',
    '{"type":"presence","connections":1,"members":[]}',
    '{"type":"pong"}',
    '{"type":"pong","reply":"p1"}',
]

EVENTS = [
    '{"type":"TEXT_MESSAGE_START","messageId":"a","role":"assistant","name":"Ann"}',
    '{"type":"TEXT_MESSAGE_CONTENT","messageId":"a","delta":"Hel"}',
    '{"type":"TEXT_MESSAGE_END","messageId":"a"}',
    '{"type":"TEXT_MESSAGE_CHUNK","messageId":"a","role":"assistant","delta":"Hel"}',
    '{"type":"TOOL_CALL_START","toolCallId":"c","toolCallName":"look","parentMessageId":"a"}',
    '{"type":"TOOL_CALL_ARGS","toolCallId":"c","delta":"{"}',
    '{"type":"TOOL_CALL_END","toolCallId":"c"}',
    '{"type":"TOOL_CALL_CHUNK","toolCallId":"c","toolCallName":"look","delta":"{"}',
    '{"type":"TOOL_CALL_RESULT","messageId":"r","toolCallId":"c","content":"42","role":"tool"}',
    '{"type":"STATE_SNAPSHOT","snapshot":{"a":1}}',
    '{"type":"STATE_DELTA","delta":[{"op":"add","path":"/a","value":1}]}',
    '{"type":"MESSAGES_SNAPSHOT","messages":[{"role":"user","id":"m1","content":"Hi"},'
    '{"role":"assistant","id":"a","toolCalls":[{"type":"function","id":"c",'
    '"function":{"name":"look","arguments":"{}"}}]},'
    '{"role":"tool","id":"r","content":"42","toolCallId":"c"}]}',
    '{"type":"ACTIVITY_SNAPSHOT","messageId":"p","activityType":"plan","content":{"steps":[]}}',
    '{"type":"ACTIVITY_DELTA","messageId":"p","activityType":"plan","patch":[]}',
    '{"type":"RAW","event":{"a":1},"source":"model"}',
    '{"type":"CUSTOM","name":"n","value":null}',
    '{"type":"RUN_STARTED","threadId":"ses_1","runId":"run_1","protocolVersion":"1.0",'
    '"input":{"threadId":"ses_1","runId":"run_1","messages":[{"role":"user","id":"m1",'
    '"content":"Hi"}],"tools":[],"context":[]}}',
    '{"type":"RUN_FINISHED","threadId":"ses_1","runId":"run_1","outcome":{"type":"success"},'
    '"usage":[{"model":"m","inputTokens":1,"outputTokens":2}]}',
    '{"type":"RUN_FINISHED","threadId":"ses_1","runId":"run_1","outcome":{"type":"cancelled"}}',
    '{"type":"RUN_FINISHED","threadId":"ses_1","runId":"run_1","outcome":{"type":"interrupt",'
    '"interrupts":[{"id":"int_1","reason":"approval"}]}}',
    '{"type":"RUN_ERROR","message":"No.","code":"timed_out",'
    '"metadata":{"agentws":{"retryable":true}}}',
    '{"type":"STEP_STARTED","stepName":"plan"}',
    '{"type":"STEP_FINISHED","stepName":"plan"}',
    '{"type":"REASONING_START","messageId":"t"}',
    '{"type":"REASONING_MESSAGE_START","messageId":"t","role":"reasoning"}',
    '{"type":"REASONING_MESSAGE_CONTENT","messageId":"t","delta":"Hm"}',
    '{"type":"REASONING_MESSAGE_END","messageId":"t"}',
    '{"type":"REASONING_MESSAGE_CHUNK","messageId":"t","delta":"Hm"}',
    '{"type":"REASONING_END","messageId":"t"}',
    '{"type":"REASONING_ENCRYPTED_VALUE","subtype":"message","entityId":"t","encryptedValue":"x"}',
    '{"type":"SUBAGENT_STARTED","subagentRunId":"s","name":"helper"}',
    '{"type":"SUBAGENT_FINISHED","subagentRunId":"s","outcome":{"type":"success"}}',
    '{"type":"SUBAGENT_ERROR","subagentRunId":"s","message":"No.","code":"x"}',
    '{"type":"message.accepted","message":{"role":"user","id":"m1","content":"Hi"},'
    '"overlap":"queue","agent":"support","timestamp":1}',
    '{"type":"message.withdrawn","messageId":"m1","reason":"withdrawn"}',
    '{"type":"message.steered","messageId":"m1","outcome":"undelivered","reason":"finished"}',
    '{"type":"message.edited","message":{"role":"user","id":"m1","content":"Hi"},"by":"ann"}',
    '{"type":"message.promoted","messageId":"m1","by":"ann"}',
    '{"type":"run.cancelling","by":"ann"}',
    '{"type":"interrupt.answered","interruptId":"int_1","status":"resolved","payload":true}',
    '{"type":"state.changed","patch":[{"op":"test","path":"/a","value":1}],"by":"ann"}',
    '{"type":"notice.posted","content":"Your export is ready","level":"info"}',
    '{"type":"history.cleared"}',
    '{"type":"history.branched","replaced":"m1","messageId":"m2","left":"br_1","branch":"br_2",'
    '"branches":["br_1","br_2"],"hidden":[12,40]}',
    '{"type":"history.branched","replaced":"m2","messageId":"m1","left":"br_2","branch":"br_1",'
    '"branches":["br_1","br_2"],"hidden":[43,50],"interrupts":["int_1"],"reload":true,'
    '"timestamp":1}',
    '{"type":"session.updated","title":"Travel","agent":"support"}',
    '{"type":"agent.chosen","agent":"billing","reason":"It is about money."}',
]
