import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { newSessionId } from 'agentws';
import { Chat } from './Chat.jsx';
import { PlainChat } from './PlainChat.jsx';

const session = location.hash.slice(1) || newSessionId();
location.hash = session;

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <Chat url="/ws/chat" session={session} />
    <PlainChat url={location.origin.replace(/^http/, 'ws') + '/ws/chat'} />
  </StrictMode>,
);
