import { useState } from 'react';
import { usePlainSocket } from './usePlainSocket.js';

/** The smallest chat: it shows the content of every message. */
export function PlainChat({ url }) {
  const { messages, connected, sendMessage } = usePlainSocket(url);
  const [text, setText] = useState('');

  const submit = (event) => {
    event.preventDefault();
    sendMessage(text);
    setText('');
  };

  return (
    <section id="plain">
      <p className="state">{connected ? 'connected' : 'disconnected'}</p>
      {messages.map((message, index) => (
        <div key={index} dir="auto" style={{ whiteSpace: 'pre-wrap' }}>
          {message.content}
        </div>
      ))}
      <form onSubmit={submit}>
        <input
          aria-label="Plain message"
          dir="auto"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button disabled={!connected}>Send</button>
      </form>
    </section>
  );
}
