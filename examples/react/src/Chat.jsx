import { useState } from 'react';
import { useAgentChat } from 'agentws/react';

/** A chat that survives reloads and bad networks: the hook follows a session, not a socket. */
export function Chat({ url, session }) {
  const chat = useAgentChat(url, { session });
  const [text, setText] = useState('');

  const submit = (event) => {
    event.preventDefault();
    if (!text.trim()) return;
    chat.send(text);
    setText('');
  };

  return (
    <section id="chat">
      <p className="state">{chat.connection}</p>
      <ol style={{ whiteSpace: 'pre-wrap' }}>
        {chat.messages.map((message) => (
          <li key={message.id} className={`${message.role} ${message.status}`} dir="auto">
            {message.text}
          </li>
        ))}
      </ol>
      <form onSubmit={submit}>
        <input
          aria-label="Message"
          dir="auto"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button>Send</button>
        {chat.run !== null && (
          <button type="button" onClick={chat.stop}>
            Stop
          </button>
        )}
      </form>
    </section>
  );
}
